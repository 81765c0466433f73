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
	Blocked      bool   // by this account
	Avatar       []byte // SHA-256 of the picture, nil without one
	Invitation   string // code of the own invitation that they came by
	DeletedMS    uint64 // when the account was deleted, 0: it was not

	// Setting is what this account notes of them, as it opened, nil without one. SavePerson does not write it: see SaveSetting.
	Setting *pb.PersonSetting
	// SealedSetting says that there is such a setting and that it does not open on this device.
	SealedSetting bool
}

// DisplayName is what this account calls them, else the nickname that they gave themselves, else the user name.
func (p *Person) DisplayName() string {
	if p.Setting.GetNickname() != "" {
		return p.Setting.GetNickname()
	}
	if p.Nickname != "" {
		return p.Nickname
	}
	return p.UserName
}

const personColumns = `account, user_name, nickname, state, note, conversation, since_ms, identity_key, new_identity,
	list_version, list_body, list_sig, blocked, avatar, invitation, deleted_ms`

const selectPeople = "SELECT " + personColumns + ", s.key IS NOT NULL, COALESCE(s.opened, 0), s.value FROM people LEFT JOIN settings s ON s.person = account "

func scanPerson(row scanner) (*Person, error) {
	var (
		p                                Person
		account, conversation, body, sig []byte
		noted, opened                    bool
		setting                          []byte
	)
	err := row.Scan(&account, &p.UserName, &p.Nickname, &p.State, &p.Note, &conversation, &p.SinceMS, &p.IdentityKey,
		&p.NewIdentity, &p.ListVersion, &body, &sig, &p.Blocked, &p.Avatar, &p.Invitation, &p.DeletedMS, &noted, &opened, &setting)
	if err != nil {
		return nil, err
	}
	if noted {
		p.Setting = &pb.PersonSetting{}
		p.SealedSetting = !opened || proto.Unmarshal(setting, p.Setting) != nil
	}
	p.Account, p.Conversation = id(account), id(conversation)
	if body != nil {
		p.List = &pb.Signed{Body: body, Signature: sig}
	}
	return &p, nil
}

// Person returns what is known of an account, or ErrNotFound.
func (t *Tx) Person(account proto.ID) (*Person, error) {
	p, err := scanPerson(t.row(selectPeople+"WHERE account = ?", account[:]))
	if err != nil {
		return nil, found("read person", err)
	}
	return p, nil
}

// People returns everybody, in the order in which they came.
func (t *Tx) People() ([]*Person, error) {
	return queryAll(t, "read people", scanPerson, selectPeople+"ORDER BY since_ms, account")
}

// SavePerson writes all of p but its setting.
func (t *Tx) SavePerson(p *Person) error {
	var body, sig []byte
	if p.List != nil {
		body, sig = p.List.GetBody(), p.List.GetSignature()
	}
	return t.exec("save person", "INSERT OR REPLACE INTO people ("+personColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		p.Account[:], p.UserName, p.Nickname, p.State, p.Note, nullable(p.Conversation), p.SinceMS, p.IdentityKey,
		p.NewIdentity, p.ListVersion, body, sig, p.Blocked, p.Avatar, p.Invitation, p.DeletedMS)
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
