package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
)

// checkAddress refuses what is no HOST:PORT.
func checkAddress(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if n, numeric := strconv.ParseUint(port, 10, 16); err != nil || numeric != nil || port != strconv.FormatUint(n, 10) {
		return badFlag("%s %q: want HOST:PORT with a port from 0 to 65535, e.g. localhost:8080 or :443", flag, address)
	}
	return nil
}

// addressError says what to do when an address cannot be listened on.
func addressError(flag, address string, err error) error {
	var (
		lookup *net.DNSError
		system *net.OpError
	)
	advice := "choose another"
	switch {
	case errors.As(err, &lookup):
		return badFlag("%s %s: there is no host %s", flag, address, lookup.Name)
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "choose another port, or 0 for a free one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine has no such address"
	case errors.Is(err, fs.ErrPermission):
		advice = "choose a port above 1023, or run it with the right to use lower ones"
	}
	if errors.As(err, &system) {
		err = system.Err // without the address, which stands in front already
	}
	return fmt.Errorf("%s %s: %w: %s", flag, address, err, advice)
}
