package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Account is one row of accounts.
type Account struct {
	ID          int64
	Public      proto.ID
	UserName    string // empty: name-first
	Nickname    string
	IdentityKey []byte
	ListVersion uint64
	Version     uint64
	Admin       bool
	Params      *pb.PasswordParams // nil without a password
	AuthSalt    []byte
	AuthHash    []byte
	Master      *pb.Sealed
	KeyRing     *pb.Sealed
	Recovery    *Recovery  // nil without a recovery code
	Reset       *ResetCode // nil without one, also if it has expired
	Avatar      []byte     // SHA-256 of the picture; nil without one
	Privacy     *pb.Privacy
	LastSeenMS  int64
	SuspendedMS int64 // 0: it is not suspended
	// FirstGeneration is that of the account key with which the identity in force began: 1, or a later one after a reset.
	FirstGeneration uint32
}

// Password is how an account logs in, as it is stored.
type Password struct {
	Params   *pb.PasswordParams
	AuthSalt []byte
	AuthHash []byte
	Master   *pb.Sealed
}

// NewAccount is an account with its first device. Everything in it was checked before.
type NewAccount struct {
	List       *proto.DeviceList
	UserName   string
	UserKey    string
	Nickname   string
	DeviceName string
	Admin      bool
	Setup      bool // only if there is no account yet
	Password   *Password
	KeyRing    *pb.Sealed
	Join       *Join // how it came, nil without an invitation
	TokenHash  []byte
	Expires    time.Time
}

// Join is the use of an invitation by an account.
type Join struct {
	Code  string
	Proof *pb.Signed // LinkJoin
	First *NewCommit
}

const accountColumns = `id, public_id, COALESCE(user_name, ''), nickname, identity_key, list_version, version, admin, pw_memory, pw_time,
	pw_parallelism, pw_salt, pw_host, auth_salt, auth_hash, wrapped_master, key_ring, recovery_salt, recovery_hash, wrapped_recovery, avatar,
	hide_presence, hide_read, hide_typing, last_seen_ms, COALESCE(suspended_ms, 0), first_generation, reset_salt, reset_hash, reset_expires_ms`

func (s *Store) scanAccount(row *sql.Row) (*Account, error) {
	var (
		a                    = Account{Privacy: &pb.Privacy{}}
		public, master, ring []byte
		p                    pb.PasswordParams
		r                    scannedRecovery
		reset                ResetCode
	)
	err := row.Scan(&a.ID, &public, &a.UserName, &a.Nickname, &a.IdentityKey, &a.ListVersion, &a.Version, &a.Admin, &p.MemoryKib, &p.Time,
		&p.Parallelism, &p.Salt, &p.Host, &a.AuthSalt, &a.AuthHash, &master, &ring, &r.salt, &r.hash, &r.master, &a.Avatar,
		&a.Privacy.HidePresence, &a.Privacy.HideRead, &a.Privacy.HideTyping, &a.LastSeenMS, &a.SuspendedMS,
		&a.FirstGeneration, &reset.AuthSalt, &reset.AuthHash, &reset.ExpiresMS)
	if err != nil {
		return nil, wrap("read account", err)
	}
	a.Public = proto.ID(public)
	if a.AuthHash != nil {
		a.Params = gproto.CloneOf(&p)
		a.Master, a.KeyRing = &pb.Sealed{}, &pb.Sealed{}
		if err := proto.Unmarshal(master, a.Master); err != nil {
			return nil, err
		}
		if err := proto.Unmarshal(ring, a.KeyRing); err != nil {
			return nil, err
		}
	}
	if reset.AuthHash != nil && reset.ExpiresMS > s.nowMS() {
		a.Reset = &reset
	}
	a.Recovery, err = r.recovery()
	return &a, err
}

// AccountByName finds an account by its folded user name.
func (s *Store) AccountByName(ctx context.Context, key string) (*Account, error) {
	return s.scanAccount(s.read.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts WHERE user_key = ? AND deleted_ms IS NULL", key))
}

// Account finds an account by its public id.
func (s *Store) Account(ctx context.Context, id proto.ID) (*Account, error) {
	return s.scanAccount(s.read.QueryRowContext(ctx, "SELECT "+accountColumns+" FROM accounts WHERE public_id = ? AND deleted_ms IS NULL", id[:]))
}

// AccountCount says how many accounts there are, without those that were deleted.
func (s *Store) AccountCount(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT COUNT(*) FROM accounts WHERE deleted_ms IS NULL").Scan(&n)
	return n, wrap("count accounts", err)
}

// CreateAccount stores an account, its first device, a session for it and the use of an invitation
// with the contact and the first commit that follow from it, all or nothing. It fails with conflict
// when the name is taken.
func (s *Store) CreateAccount(ctx context.Context, n NewAccount) error {
	return s.write(ctx, func(w *writeTx) error {
		if n.Setup {
			var count int
			if err := w.row("SELECT COUNT(*) FROM accounts WHERE deleted_ms IS NULL").Scan(&count); err != nil || count > 0 {
				return wrap("set up", firstErr(err, proto.Errorf(pb.ErrorCode_ERROR_CODE_USED_UP, "this server is set up already: ask its administrator for an invitation")))
			}
		}
		account, err := w.insertAccount(n)
		if err != nil {
			return err
		}
		device, err := w.addDevice(account, n.List, n.List.GetDevices()[0], n.DeviceName)
		if err != nil {
			return err
		}
		if err := w.addSession(n.TokenHash, device, n.Expires); err != nil {
			return err
		}
		for _, kind := range []int{LogProfile, LogDeviceList} {
			if err := w.bump(account, kind, nil); err != nil {
				return err
			}
		}
		if n.Join == nil {
			return nil
		}
		return w.join(account, n.Join)
	})
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writeTx) insertAccount(n NewAccount) (int64, error) {
	var name, key any
	if n.UserKey != "" {
		name, key = n.UserName, n.UserKey
	}
	p := n.Password
	if p == nil {
		p = &Password{}
	}
	var master, ring any
	if n.Password != nil {
		m, err := gproto.Marshal(p.Master)
		if err != nil {
			return 0, fmt.Errorf("account: %w", err)
		}
		r, err := gproto.Marshal(n.KeyRing)
		if err != nil {
			return 0, fmt.Errorf("account: %w", err)
		}
		master, ring = m, r
	}
	public := n.List.GetAccount()
	id, err := w.insert(`INSERT INTO accounts (public_id, user_name, user_key, nickname, identity_key, list_version, generation, admin,
		pw_memory, pw_time, pw_parallelism, pw_salt, pw_host, auth_salt, auth_hash, wrapped_master, key_ring, created_ms)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		public, name, key, n.Nickname, n.List.GetIdentityKey(), n.List.GetVersion(), n.List.GetGeneration(), n.Admin,
		p.Params.GetMemoryKib(), p.Params.GetTime(), p.Params.GetParallelism(), p.Params.GetSalt(), p.Params.GetHost(), p.AuthSalt, p.AuthHash,
		master, ring, w.s.nowMS())
	if w.s.dialect.taken(err, "") {
		if w.s.dialect.taken(err, "user_key") {
			return 0, proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "the user name %q is taken: choose another", n.UserName)
		}
		return 0, proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this account exists already")
	}
	if err != nil {
		return 0, fmt.Errorf("insert account: %w", err)
	}
	return id, w.insertList(id, n.List)
}

func (w *writeTx) insertList(account int64, l *proto.DeviceList) error {
	_, err := w.exec("INSERT INTO device_lists (account_id, version, body, signature) VALUES (?, ?, ?, ?)",
		account, l.GetVersion(), l.Signed.GetBody(), l.Signed.GetSignature())
	return wrap("insert device list", err)
}

func (w *writeTx) addDevice(account int64, l *proto.DeviceList, d *pb.DeviceKeys, name string) (int64, error) {
	now := w.s.nowMS()
	id, err := w.insert(`INSERT INTO devices (public_id, account_id, name, sign_key, seal_key, created_ms, last_used_ms)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, d.GetDevice(), account, name, d.GetSignKey(), d.GetSealKey(), now, now)
	if err != nil {
		if w.s.dialect.taken(err, "") {
			return 0, proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this device exists already")
		}
		return 0, fmt.Errorf("insert device of list %d: %w", l.GetVersion(), err)
	}
	err = w.bump(account, LogDevice, d.GetDevice())
	return id, err
}

func (w *writeTx) addSession(tokenHash []byte, device int64, expires time.Time) error {
	_, err := w.exec("INSERT INTO sessions (token_hash, device_id, created_ms, expires_ms) VALUES (?, ?, ?, ?)",
		tokenHash, device, w.s.nowMS(), expires.UnixMilli())
	return wrap("insert session", err)
}

// SetPassword replaces how an account logs in, in one step, and ends its other sessions. It returns the devices
// whose sessions those were.
func (s *Store) SetPassword(ctx context.Context, account int64, p *Password, keepToken []byte) (ended []proto.ID, err error) {
	master, err := gproto.Marshal(p.Master)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	err = s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		_, err := w.exec(`UPDATE accounts SET pw_memory = ?, pw_time = ?, pw_parallelism = ?, pw_salt = ?, pw_host = ?, auth_salt = ?,
			auth_hash = ?, wrapped_master = ? WHERE id = ?`, p.Params.GetMemoryKib(), p.Params.GetTime(), p.Params.GetParallelism(),
			p.Params.GetSalt(), p.Params.GetHost(), p.AuthSalt, p.AuthHash, master, account)
		if err != nil {
			return fmt.Errorf("set password: %w", err)
		}
		ended, err = publicIDs(w.ctx, w.tx, `SELECT DISTINCT d.public_id FROM sessions s JOIN devices d ON d.id = s.device_id
			WHERE d.account_id = ? AND s.token_hash <> ?`, account, keepToken)
		if err != nil {
			return err
		}
		_, err = w.exec("DELETE FROM sessions WHERE device_id IN (SELECT id FROM devices WHERE account_id = ?) AND token_hash <> ?", account, keepToken)
		return wrap("end sessions", err)
	})
	return ended, err
}
