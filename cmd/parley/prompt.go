package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/parley-chat/parley/peer"
)

// terminal is the person's, if they sit at one.
func terminal(io stdio) (file *os.File, ok bool) {
	file, ok = io.in.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// confirm asks on the terminal whether to go on; yes is the answer given by --yes. Without a terminal it wants that.
func confirm(io stdio, yes bool, question string) error {
	if yes {
		return nil
	}
	file, ok := terminal(io)
	if !ok {
		return badFlag("%s: say --yes to go on", question)
	}
	_, _ = fmt.Fprintf(io.err, "%s [y/N] ", question)
	switch strings.ToLower(strings.TrimSpace(readLine(file))) {
	case "y", "yes":
		return nil
	}
	return &refusedError{"you did not say yes: nothing was done"}
}

// readLine reads a line from a terminal, no more of it.
func readLine(file *os.File) string {
	var text []byte
	for b := make([]byte, 1); ; {
		if n, err := file.Read(b); n == 0 || err != nil || b[0] == '\n' {
			return string(text)
		}
		text = append(text, b[0])
	}
}

// secret reads a secret from the file that a variable names, else asks on the terminal, else fails and says how to give it.
func secret(io stdio, variable, what string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		b, err := os.ReadFile(path) //nolint:gosec // named by the person
		if err != nil {
			return "", badFlag("%s: %v", variable, err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	file, ok := terminal(io)
	if !ok {
		return "", badFlag("no %s: set %s to a file that holds it, or run this on a terminal", strings.ToLower(what), variable)
	}
	_, _ = fmt.Fprint(io.err, what, ": ")
	b, err := term.ReadPassword(int(file.Fd()))
	_, _ = fmt.Fprintln(io.err)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", strings.ToLower(what), err)
	}
	return string(b), nil
}

// The files that secrets come from where there is no terminal.
const (
	passwordFile    = "PARLEY_PASSWORD_FILE"
	newPasswordFile = "PARLEY_NEW_PASSWORD_FILE" //nolint:gosec // a name
	recoveryFile    = "PARLEY_RECOVERY_FILE"
)

// password is the account's.
func password(io stdio) (string, error) { return secret(io, passwordFile, "Password") }

// typedRecoveryCode is the account's.
func typedRecoveryCode(io stdio) (string, error) { return secret(io, recoveryFile, "Recovery code") }

// newPassword is one for a new account: on a terminal it is asked twice, since a slip would lock its owner out.
func newPassword(io stdio) (string, error) { return twice(io, passwordFile, "Password") }

// twice reads a secret that is new.
func twice(io stdio, variable, what string) (string, error) {
	first, err := secret(io, variable, what)
	if err != nil || os.Getenv(variable) != "" {
		return first, err
	}
	again, err := secret(io, variable, "Again. "+what)
	if err == nil && again != first {
		return "", badFlag("the two passwords differ: try again")
	}
	return again, err
}

// withPassword runs f without a password, and when the account has one, with it.
func withPassword(io stdio, f func(password string) error) error {
	err := f("")
	if !errors.Is(err, peer.ErrPasswordNeeded) {
		return err
	}
	secret, err := password(io)
	if err != nil {
		return err
	}
	return f(secret)
}
