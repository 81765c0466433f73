// Command parley is all of Parley: the server, and a peer for the command line.
package main

import (
	"context"
	"os"
	ossignal "os/signal"
	"syscall"
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := ossignal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}
