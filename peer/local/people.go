package local

import (
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Person is an account this device knows of.
type Person struct {
	Account      proto.ID
	UserName     string // empty for a name-first account
	Nickname     string
	State        pb.ContactState
	Note         string
	Conversation proto.ID // the pair's, zero until accepted
	SinceMS      uint64
	IdentityKey  []byte // pinned at first sight, nil until then
	NewIdentity  []byte // another one that was seen since
	ListVersion  uint64 // highest device list version seen
	List         *pb.Signed
}

// DisplayName is the nickname, or the user name where there is none.
func (p *Person) DisplayName() string {
	if p.Nickname != "" {
		return p.Nickname
	}
	return p.UserName
}

const personColumns = `account, user_name, nickname, state, note, conversation, since_ms, identity_key, new_identity,
	list_version, list_body, list_sig`

func scanPerson(row scanner) (*Person, error) {
	var (
		p                                Person
		account, conversation, body, sig []byte
	)
	err := row.Scan(&account, &p.UserName, &p.Nickname, &p.State, &p.Note, &conversation, &p.SinceMS, &p.IdentityKey,
		&p.NewIdentity, &p.ListVersion, &body, &sig)
	p.Account, p.Conversation = id(account), id(conversation)
	if body != nil {
		p.List = &pb.Signed{Body: body, Signature: sig}
	}
	return &p, err
}

// Person returns what is known of an account, or ErrNotFound.
func (t *Tx) Person(account proto.ID) (*Person, error) {
	p, err := scanPerson(t.row("SELECT "+personColumns+" FROM people WHERE account = ?", account[:]))
	if err != nil {
		return nil, found("read person", err)
	}
	return p, nil
}

// People returns everybody, in the order in which they came.
func (t *Tx) People() ([]*Person, error) {
	return queryAll(t, "read people", scanPerson, "SELECT "+personColumns+" FROM people ORDER BY since_ms, account")
}

// SavePerson writes all of p.
func (t *Tx) SavePerson(p *Person) error {
	var body, sig []byte
	if p.List != nil {
		body, sig = p.List.GetBody(), p.List.GetSignature()
	}
	return t.exec("save person", "INSERT OR REPLACE INTO people ("+personColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		p.Account[:], p.UserName, p.Nickname, p.State, p.Note, nullable(p.Conversation), p.SinceMS, p.IdentityKey,
		p.NewIdentity, p.ListVersion, body, sig)
}

// DeviceKey is a device's public keys as a verified list named them.
type DeviceKey struct {
	Account, Device  proto.ID
	SignKey, SealKey []byte
	IdentityKey      []byte // that signed the list
}

// AddDeviceKey remembers a device for ever: what it signed stays verifiable after it is revoked.
func (t *Tx) AddDeviceKey(k DeviceKey) error {
	return t.exec("save device key", "INSERT OR IGNORE INTO device_keys (account, device, sign_key, seal_key, identity_key) VALUES (?, ?, ?, ?, ?)",
		k.Account[:], k.Device[:], k.SignKey, k.SealKey, k.IdentityKey)
}

// DeviceKeyOf returns the key of an account's device, or ErrNotFound.
func (t *Tx) DeviceKeyOf(account, device proto.ID) (*DeviceKey, error) {
	k := DeviceKey{Account: account, Device: device}
	err := t.row("SELECT sign_key, seal_key, identity_key FROM device_keys WHERE account = ? AND device = ?", account[:], device[:]).
		Scan(&k.SignKey, &k.SealKey, &k.IdentityKey)
	if err != nil {
		return nil, found("read device key", err)
	}
	return &k, nil
}
