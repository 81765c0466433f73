package peer

import (
	"cmp"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ErrNoProfile says that the folder holds no account yet.
var ErrNoProfile = errors.New("no account in this profile: run `parley register` or `parley login` first")

// Profile is an account's device on this machine: a folder with the device's keys (profile.json, mode 0600) and what it
// received. Nobody else ever gets any of the keys.
type Profile struct {
	dir  string
	keys keys
}

// keys is the secret part of a device as profile.json holds it.
type keys struct {
	Server      string       `json:"server"` // base URL
	Account     proto.ID     `json:"account"`
	Device      proto.ID     `json:"device"`
	UserName    string       `json:"user,omitempty"`
	SignSeed    []byte       `json:"sign_seed"`               // Ed25519
	SealKey     []byte       `json:"seal_key"`                // X25519
	AccountKeys []accountKey `json:"account_keys"`            // every generation, oldest first; none before a device that came by a link is let in
	Identity    []byte       `json:"identity_seed,omitempty"` // only while the account has no password
	Token       string       `json:"session_token,omitempty"`
	// Pinned are identities that an invitation vouched for before there was a local store.
	Pinned []pinnedIdentity `json:"pinned,omitempty"`
}

// pinnedIdentity is an account's identity key as an invitation named it.
type pinnedIdentity struct {
	Account     proto.ID `json:"account"`
	IdentityKey []byte   `json:"identity_key"`
}

// accountKey is one generation of the account's HPKE key.
type accountKey struct {
	Generation uint32 `json:"generation"`
	Private    []byte `json:"private"`
}

const profileFile = "profile.json"

// Server returns the base URL of the account's server.
func (p *Profile) Server() string { return p.keys.Server }

// Account returns the account's id.
func (p *Profile) Account() proto.ID { return p.keys.Account }

// Device returns this device's id.
func (p *Profile) Device() proto.ID { return p.keys.Device }

// UserName returns the account's user name as it was typed, empty for an account without one.
func (p *Profile) UserName() string { return p.keys.UserName }

// NameOnly says that the account has no user name and password, so that it ends with its last device.
func (p *Profile) NameOnly() bool { return p.keys.UserName == "" }

// LoadProfile reads the profile in dir. It returns ErrNoProfile where there is none.
func LoadProfile(dir string) (*Profile, error) {
	b, err := os.ReadFile(filepath.Join(dir, profileFile)) //nolint:gosec // the folder is the caller's choice
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoProfile
	}
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	p := &Profile{dir: dir}
	if err := json.Unmarshal(b, &p.keys); err != nil {
		return nil, fmt.Errorf("profile %s is damaged: %w", filepath.Join(dir, profileFile), err)
	}
	if k := p.keys; k.Account.IsZero() || k.Device.IsZero() || len(k.SignSeed) != ed25519.SeedSize || len(k.SealKey) != proto.KeySize {
		return nil, fmt.Errorf("profile %s is damaged: account, device or keys are missing", dir)
	}
	return p, nil
}

// newProfile makes a device with fresh keys. Nothing is written yet.
func newProfile(dir, server string) (*Profile, error) {
	_, sign, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make device key: %w", err)
	}
	seal, err := newX25519()
	if err != nil {
		return nil, err
	}
	return &Profile{dir: dir, keys: keys{Server: server, Device: proto.NewID(), SignSeed: sign.Seed(), SealKey: seal.Bytes()}}, nil
}

func newX25519() (*ecdh.PrivateKey, error) {
	key, err := ecdh.X25519().GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make X25519 key: %w", err)
	}
	return key, nil
}

// save writes the profile so that a crash leaves the old or the new one whole.
func (p *Profile) save() error {
	b, err := json.MarshalIndent(p.keys, "", "  ") //nolint:gosec // its secrets are what the file is for
	if err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	if err := writeWhole(filepath.Join(p.dir, profileFile), append(b, '\n')); err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	return nil
}

// writeWhole replaces a file (mode 0600) at once: after a crash there is the old or the new one, and nobody reads half of it.
func writeWhole(path string, b []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// remove deletes keys and messages of this device for good.
func (p *Profile) remove() error {
	var errs []error
	for _, name := range []string{profileFile, databaseFile, databaseFile + "-wal", databaseFile + "-shm", socketFile} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Profile) signKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.keys.SignSeed) }

// accountKey returns the private account key of a generation.
func (p *Profile) accountKey(generation uint32) ([]byte, bool) {
	i := slices.IndexFunc(p.keys.AccountKeys, func(k accountKey) bool { return k.Generation == generation })
	if i < 0 {
		return nil, false
	}
	return p.keys.AccountKeys[i].Private, true
}

// addAccountKey adds a generation of the account key; the newest is the last.
func (p *Profile) addAccountKey(k accountKey) {
	p.keys.AccountKeys = append(p.keys.AccountKeys, k)
	slices.SortFunc(p.keys.AccountKeys, func(a, b accountKey) int { return cmp.Compare(a.Generation, b.Generation) })
}

// deviceKeys is the public half, as it stands in the device list.
func (p *Profile) deviceKeys(nowMS uint64) (*pb.DeviceKeys, error) {
	seal, err := ecdh.X25519().NewPrivateKey(p.keys.SealKey)
	if err != nil {
		return nil, fmt.Errorf("profile seal key: %w", err)
	}
	return &pb.DeviceKeys{
		Device: p.keys.Device.Bytes(), SignKey: p.signKey().Public().(ed25519.PublicKey), SealKey: seal.PublicKey().Bytes(), //nolint:forcetypeassert // by definition
		AddedMs: nowMS,
	}, nil
}
