package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// configLimit bounds a configuration file, in bytes.
const configLimit = 1 << 20

// configFile answers flags from a YAML file whose keys are the flags' names. Flags given on the command line and
// environment variables come first.
type configFile struct{ values *koanf.Koanf }

// loadConfig reads a file that --config names.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	var text bytes.Buffer
	if n, err := io.Copy(&text, io.LimitReader(r, configLimit+1)); err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	} else if n > configLimit {
		return nil, badFlag("--config: the file has more than %d bytes", configLimit)
	}
	values := koanf.New("\x00") // no key of ours has parts
	if err := values.Load(rawbytes.Provider(text.Bytes()), yaml.Parser()); err != nil {
		return nil, badFlag("--config: %v", err)
	}
	return configFile{values}, nil
}

// Validate refuses keys that are no flag of serve.
func (f configFile) Validate(app *kong.Application) error {
	known := []string{}
	for _, command := range app.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			if flag.Name != "config" {
				known = append(known, flag.Name)
			}
		}
	}
	for _, key := range f.values.Keys() {
		if !slices.Contains(known, key) {
			slices.Sort(known)
			return badFlag("--config: unknown setting %q; there are: %s", key, strings.Join(known, ", "))
		}
	}
	return nil
}

// Resolve implements kong.Resolver.
func (f configFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if parent.Command == nil || parent.Command.Name != "serve" || !f.values.Exists(flag.Name) {
		return nil, nil //nolint:nilnil // kong's way to say: not here
	}
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil //nolint:nilnil // as above: the environment comes first
		}
	}
	switch value := f.values.Get(flag.Name).(type) {
	case string, bool:
		return value, nil
	case int, int64, float64:
		return fmt.Sprint(value), nil
	case []any:
		parts := make([]string, len(value))
		for i, v := range value {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, ","), nil
	}
	return nil, badFlag("the value of %s in --config is neither text nor a number, a list or true or false", flag.Name)
}
