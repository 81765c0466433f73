/** The shortest password an account takes, in characters. */
export const minPassword = 8;

/** Tells whether a new password is too short. */
export function passwordProblem(password: string): boolean {
  return [...password].length < minPassword;
}
