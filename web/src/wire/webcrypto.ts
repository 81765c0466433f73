/**
 * What @hpke/core means by Node's "crypto" module, which it asks for where globalThis.crypto is missing. Every browser
 * that Parley runs in has it; vite.config.ts puts this file in the module's place.
 */
export const webcrypto = globalThis.crypto;
