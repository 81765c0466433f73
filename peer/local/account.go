package local

import "github.com/parley-chat/parley/proto"

// Device is one of the account's own devices, ended or not.
type Device struct {
	ID          proto.ID
	Name        string
	CreatedMS   uint64
	LastUsedMS  uint64
	LastAddress string
	Ended       bool
}

// SaveDevice writes all of d.
func (t *Tx) SaveDevice(d *Device) error {
	return t.exec("save device", "INSERT OR REPLACE INTO devices (device, name, created_ms, last_used_ms, last_address, ended) VALUES (?, ?, ?, ?, ?, ?)",
		d.ID[:], d.Name, d.CreatedMS, d.LastUsedMS, d.LastAddress, d.Ended)
}

// Devices returns the account's devices, oldest first.
func (t *Tx) Devices() ([]*Device, error) {
	return queryAll(t, "read devices", func(row scanner) (*Device, error) {
		var (
			d      Device
			device []byte
		)
		err := row.Scan(&device, &d.Name, &d.CreatedMS, &d.LastUsedMS, &d.LastAddress, &d.Ended)
		d.ID = id(device)
		return &d, err
	}, "SELECT device, name, created_ms, last_used_ms, last_address, ended FROM devices ORDER BY created_ms, device")
}

// Invitation is one of the account's own: the verified body, and what the server says of its use.
type Invitation struct {
	Code     string
	Body     []byte // serialised pb.Invitation
	UsesLeft uint32
	Revoked  bool
}

// SaveInvitation writes all of i.
func (t *Tx) SaveInvitation(i *Invitation) error {
	return t.exec("save invitation", "INSERT OR REPLACE INTO invitations (code, body, uses_left, revoked) VALUES (?, ?, ?, ?)",
		i.Code, i.Body, i.UsesLeft, i.Revoked)
}

const invitationColumns = "code, body, uses_left, revoked"

func scanInvitation(row scanner) (*Invitation, error) {
	var i Invitation
	err := row.Scan(&i.Code, &i.Body, &i.UsesLeft, &i.Revoked)
	return &i, err
}

// Invitation returns an own invitation, or ErrNotFound.
func (t *Tx) Invitation(code string) (*Invitation, error) {
	i, err := scanInvitation(t.row("SELECT "+invitationColumns+" FROM invitations WHERE code = ?", code))
	if err != nil {
		return nil, found("read invitation", err)
	}
	return i, nil
}

// Invitations returns all of the account's own.
func (t *Tx) Invitations() ([]*Invitation, error) {
	return queryAll(t, "read invitations", scanInvitation, "SELECT "+invitationColumns+" FROM invitations ORDER BY code")
}

// Setting is one that the account's devices share.
type Setting struct {
	Key    string
	Sealed []byte
	Opened bool     // it opens on this device
	Value  []byte   // what is in it
	Person proto.ID // whom it is about, zero for nobody
}

// SaveSetting writes all of s.
func (t *Tx) SaveSetting(s *Setting) error {
	if s.Sealed == nil {
		s.Sealed = []byte{}
	}
	return t.exec("save setting", "INSERT OR REPLACE INTO settings (key, sealed, opened, value, person) VALUES (?, ?, ?, ?, ?)", s.Key, s.Sealed, s.Opened, s.Value, nullable(s.Person))
}

const settingColumns = "key, sealed, opened, value, person"

func scanSetting(row scanner) (*Setting, error) {
	var (
		s      Setting
		person []byte
	)
	err := row.Scan(&s.Key, &s.Sealed, &s.Opened, &s.Value, &person)
	s.Person = id(person)
	return &s, err
}

// Setting returns the setting of a key, or ErrNotFound.
func (t *Tx) Setting(key string) (*Setting, error) {
	s, err := scanSetting(t.row("SELECT "+settingColumns+" FROM settings WHERE key = ?", key))
	if err != nil {
		return nil, found("read setting", err)
	}
	return s, nil
}

// Settings returns all settings, by key.
func (t *Tx) Settings() ([]*Setting, error) {
	return queryAll(t, "read settings", scanSetting, "SELECT "+settingColumns+" FROM settings ORDER BY key")
}
