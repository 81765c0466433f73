package peer

import (
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

// Profile is the secret part of a device, kept in profile.json (mode 0600) of its folder. Nobody else
// ever gets any of it.
type Profile struct {
	Server      string       `json:"server"` // base URL
	Account     proto.ID     `json:"-"`
	Device      proto.ID     `json:"-"`
	AccountText string       `json:"account"`
	DeviceText  string       `json:"device"`
	UserName    string       `json:"user,omitempty"`
	SignSeed    []byte       `json:"sign_seed"`               // Ed25519
	SealKey     []byte       `json:"seal_key"`                // X25519
	AccountKeys []AccountKey `json:"account_keys"`            // every generation, oldest first
	Identity    []byte       `json:"identity_seed,omitempty"` // only while the account has no password
	Token       string       `json:"session_token,omitempty"`
	// Pinned are identities that an invitation vouched for before there was a local store.
	Pinned []PinnedIdentity `json:"pinned,omitempty"`

	dir string
}

// PinnedIdentity is an account's identity key as an invitation named it.
type PinnedIdentity struct {
	Account     proto.ID `json:"account"`
	IdentityKey []byte   `json:"identity_key"`
}

// AccountKey is one generation of the account's HPKE key.
type AccountKey struct {
	Generation uint32 `json:"generation"`
	Private    []byte `json:"private"`
}

const profileFile = "profile.json"

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
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("profile %s is damaged: %w", filepath.Join(dir, profileFile), err)
	}
	if p.Account, err = proto.ParseID(p.AccountText); err != nil {
		return nil, fmt.Errorf("profile %s is damaged: account: %w", dir, err)
	}
	if p.Device, err = proto.ParseID(p.DeviceText); err != nil {
		return nil, fmt.Errorf("profile %s is damaged: device: %w", dir, err)
	}
	if len(p.SignSeed) != ed25519.SeedSize || len(p.AccountKeys) == 0 {
		return nil, fmt.Errorf("profile %s is damaged: keys are missing", dir)
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
	return &Profile{Server: server, Device: proto.NewID(), SignSeed: sign.Seed(), SealKey: seal.Bytes(), dir: dir}, nil
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
	p.AccountText, p.DeviceText = p.Account.String(), p.Device.String()
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	file, err := os.CreateTemp(p.dir, profileFile+".*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	_, err = file.Write(append(b, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(p.dir, profileFile))
	}
	if err != nil {
		return fmt.Errorf("save profile: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// remove deletes keys and messages of this device for good.
func (p *Profile) remove() error {
	var errs []error
	for _, name := range []string{profileFile, databaseFile, databaseFile + "-wal", databaseFile + "-shm"} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Profile) signKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.SignSeed) }

// accountKey returns the private account key of a generation.
func (p *Profile) accountKey(generation uint32) ([]byte, bool) {
	i := slices.IndexFunc(p.AccountKeys, func(k AccountKey) bool { return k.Generation == generation })
	if i < 0 {
		return nil, false
	}
	return p.AccountKeys[i].Private, true
}

// deviceKeys is the public half, as it stands in the device list.
func (p *Profile) deviceKeys(nowMS uint64) (*pb.DeviceKeys, error) {
	seal, err := ecdh.X25519().NewPrivateKey(p.SealKey)
	if err != nil {
		return nil, fmt.Errorf("profile seal key: %w", err)
	}
	return &pb.DeviceKeys{
		Device: p.Device[:], SignKey: p.signKey().Public().(ed25519.PublicKey), SealKey: seal.PublicKey().Bytes(), //nolint:forcetypeassert // by definition
		AddedMs: nowMS,
	}, nil
}
