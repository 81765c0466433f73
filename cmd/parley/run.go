package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/parley-chat/parley/web"
)

type stdio struct {
	in       io.Reader
	out, err io.Writer
}

type cli struct {
	Serve       serveCmd       `cmd:"" help:"Run the server: signaling, relay, STUN/TURN and the browser app."`
	Register    registerCmd    `cmd:"" help:"Make an account on a server, with this profile as its first device."`
	Login       loginCmd       `cmd:"" help:"Add this profile as a device of an existing account."`
	Logout      logoutCmd      `cmd:"" help:"Sign this device out and delete everything it kept."`
	Account     accountCmd     `cmd:"" help:"Keep, recover, export or delete the account, and change its password."`
	Devices     devicesCmd     `cmd:"" help:"List, add and revoke the account's devices."`
	Profile     profileCmd     `cmd:"" help:"Show or change name and picture."`
	Contacts    contactsCmd    `cmd:"" help:"Find people, ask, accept, decline, remove, block, name them."`
	Invitations invitationsCmd `cmd:"" help:"Make, list and revoke invitations."`
	Safety      safetyCmd      `cmd:"" help:"Show the safety number of a contact, and mark it as compared."`
	Privacy     privacyCmd     `cmd:"" help:"Show or change what this account hides."`
	Send        sendCmd        `cmd:"" help:"Send a text."`
	Listen      listenCmd      `cmd:"" help:"Receive until interrupted."`
	History     historyCmd     `cmd:"" help:"Show a conversation."`
	Identity    identityCmd    `cmd:"" help:"What to do when an identity changed."`
	Admin       adminCmd       `cmd:"" help:"Administer the server."`
	Version     versionCmd     `cmd:"" help:"Show the version, and which build of the browser app is inside."`
}

const description = `Parley: talk directly when both are there, through the relay when one is not.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 server not reached, 4 refused, 5 no such name or several, 6 timed out.

Environment: PARLEY_PASSWORD_FILE, PARLEY_NEW_PASSWORD_FILE and PARLEY_RECOVERY_FILE (files with secrets), PARLEY_PROFILE, PARLEY_LOG_LEVEL (debug, info, warn, error), and what 'parley serve --help' names.`

type versionCmd struct {
	JSON bool `help:"One JSON object: version, web_app, go, platform."`
}

func (versionCmd) Help() string {
	return "The web app is named by the SHA-256 of its build, which anybody can make again from the same source: see docs/SECURITY.md."
}

func (v versionCmd) Run(io stdio) error {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if v.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			Version  string `json:"version"`
			WebApp   string `json:"web_app"` // empty: built without it
			Go       string `json:"go"`
			Platform string `json:"platform"`
		}{version, web.Hash(), runtime.Version(), platform})
	}
	app := web.Hash()
	if app == "" {
		app = "none: this program was built without it (make build)"
	}
	_, err := fmt.Fprintf(io.out, "parley %s (%s, %s)\nweb app %s\n", version, runtime.Version(), platform, app)
	return err
}

type exited int

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, io stdio) (code int) {
	defer func() {
		if v := recover(); v != nil {
			early, ok := v.(exited)
			if !ok {
				panic(v)
			}
			code = int(early)
		}
	}()
	var grammar cli
	parser, err := kong.New(&grammar, kong.Name("parley"), kong.Writers(io.out, io.err), kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(io), kong.Configuration(loadConfig))
	if err != nil {
		_, _ = fmt.Fprintln(io.err, "parley:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(io.err, "parley: %s\n", line(usage(parser, args, err)))
		return exitUsage
	}
	err = parsed.Run()
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		_, _ = fmt.Fprintln(io.err, "parley: interrupted")
		return exitFailed
	}
	_, _ = fmt.Fprintf(io.err, "parley: %s\n", line(err.Error()))
	return exitCode(err)
}

// usage says what is wrong with a command line and where its help is.
func usage(parser *kong.Kong, args []string, err error) string {
	var (
		parse   *kong.ParseError
		problem *usageError
		command = "parley"
		names   []string
	)
	at := parser.Model.Node
	if errors.As(err, &parse) && parse.Context.Selected() != nil {
		at = parse.Context.Selected()
		command = at.FullPath()
	}
	for _, child := range at.Children {
		names = append(names, child.Name)
	}
	text := err.Error()
	switch {
	case errors.As(err, &problem): // of the configuration file: says all
		return text
	case len(names) > 0 && strings.HasPrefix(text, "expected one of"):
		text = "say what to do: " + strings.Join(names, ", ")
	case len(names) > 0 && len(args) > 0 && strings.HasPrefix(text, "unexpected argument"):
		text = fmt.Sprintf("%s; commands are %s", text, strings.Join(names, ", "))
	case at.Name == "send" && strings.HasPrefix(text, "unexpected argument"):
		text += ": a text of several words goes into quotes"
	}
	return fmt.Sprintf("%s (see %s --help)", text, command)
}
