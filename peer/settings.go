package peer

import (
	"context"
	"errors"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// errSettingSealed says that a setting cannot be changed here: it would take away what another device wrote.
var errSettingSealed = errors.New("what another device noted cannot be read here yet: its key has not come to this device, so nothing was changed")

// keepSetting stores a setting as the server has it, opened if this device has the key.
func (w *work) keepSetting(from *pb.Setting) error {
	s := &local.Setting{Key: from.GetKey(), Sealed: from.GetValue()}
	s.Person, _ = proto.PersonOfSetting(s.Key)
	if err := w.openSetting(s); err != nil {
		w.c.logger.Debug("setting", "key", s.Key, "error", err)
	}
	if err := w.SaveSetting(s); err != nil {
		return err
	}
	return w.tellSetting(s)
}

// openSetting opens what is sealed in a setting; one that does not open has no value. An emptied one is as good as none.
func (w *work) openSetting(s *local.Setting) error {
	s.Opened, s.Value = len(s.Sealed) == 0, nil
	if s.Opened {
		return nil
	}
	value := valueOf(s.Key)
	if value == nil {
		return errors.New("it is of a kind that needs a newer Parley")
	}
	err := proto.OpenSetting(func(generation uint32) []byte {
		key, _ := w.c.profile.accountKey(generation)
		return key
	}, w.c.Account(), s.Key, s.Sealed, value)
	if err != nil {
		return err
	}
	s.Opened = true
	s.Value, err = gproto.Marshal(value)
	return err
}

// valueOf is what a setting holds, nil for a key that this program does not know.
func valueOf(key string) gproto.Message {
	if _, ok := proto.PersonOfSetting(key); ok {
		return &pb.PersonSetting{}
	}
	if key == proto.SettingLinks {
		return &pb.LinkSetting{}
	}
	return nil
}

// tellSetting tells of the person that a setting is about, if they are known.
func (w *work) tellSetting(s *local.Setting) error {
	if err := w.loadAddresses(); err != nil {
		return err
	}
	if s.Person.IsZero() {
		return nil
	}
	p, err := w.Person(s.Person)
	if errors.Is(err, local.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	contact, err := w.contact(p)
	if err == nil {
		w.tell(ContactEvent{contact})
	}
	return err
}

// openSettings tries those again that did not open: a key has come.
func (c *Client) openSettings(ctx context.Context) error {
	return c.update(ctx, func(w *work) error {
		all, err := w.Settings()
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Opened || w.openSetting(s) != nil {
				continue
			}
			if err := errors.Join(w.SaveSetting(s), w.tellSetting(s)); err != nil {
				return err
			}
		}
		return nil
	})
}

// changeSetting changes what the account's devices share under a key: change gets the present value, and the whole is sealed
// and sent. It is in force when the server has it.
func changeSetting[M gproto.Message](ctx context.Context, c *Client, key string, value M, change func(M) error) error {
	setting := &pb.Setting{Key: key}
	err := c.update(ctx, func(w *work) error {
		known, err := w.Setting(key)
		switch {
		case errors.Is(err, local.ErrNotFound):
		case err != nil:
			return err
		case !known.Opened:
			return errSettingSealed
		default:
			if err := proto.Unmarshal(known.Value, value); err != nil {
				return err
			}
		}
		if err := change(value); err != nil {
			return err
		}
		newest := c.profile.keys.AccountKeys[len(c.profile.keys.AccountKeys)-1]
		setting.Value, err = proto.SealSetting(&pb.AccountKey{Generation: newest.Generation, PrivateKey: newest.Private}, c.Account(), key, value)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: setting}}}); err != nil {
		return err
	}
	return c.update(ctx, func(w *work) error { return w.keepSetting(setting) })
}

// notePerson changes what this account notes of another person.
func (c *Client) notePerson(ctx context.Context, person proto.ID, change func(*pb.PersonSetting) error) (Contact, error) {
	if err := changeSetting(ctx, c, proto.PersonSettingKey(person), &pb.PersonSetting{}, change); err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, person)
}

// SetNickname gives somebody a name that only this account sees, on all its devices; empty: the one that they gave themselves.
func (c *Client) SetNickname(ctx context.Context, person proto.ID, nickname string) (Contact, error) {
	if nickname != "" {
		clean, err := proto.CleanNickname(nickname)
		if err != nil {
			return Contact{}, err
		}
		nickname = clean
	}
	return c.notePerson(ctx, person, func(s *pb.PersonSetting) error {
		s.Nickname = nickname
		return nil
	})
}
