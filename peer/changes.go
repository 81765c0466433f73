package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const keyAccountVersion = "account_version"

func (c *Client) hello(ctx context.Context) (*pb.Hello, error) {
	version, err := c.accountVersion(ctx)
	return &pb.Hello{Version: proto.Version, Client: c.cfg.Program, AccountVersion: version}, err
}

func (c *Client) accountVersion(ctx context.Context) (version uint64, err error) {
	err = c.update(ctx, func(w *work) error {
		b, err := w.Get(keyAccountVersion)
		if len(b) == 8 {
			version = binary.BigEndian.Uint64(b)
		}
		return err
	})
	return version, err
}

func (c *Client) setAccountVersion(ctx context.Context, version uint64) error {
	return c.update(ctx, func(w *work) error { return w.Set(keyAccountVersion, proto.U64(version)) })
}

// welcomeChanges applies what changed since this device was here. A server whose version went back was restored from an
// older copy: it sends everything it has, and whoever is not among that is no contact any more.
func (c *Client) welcomeChanges(ctx context.Context, conn *connection, changes *pb.AccountChanges) error {
	known, err := c.accountVersion(ctx)
	if err != nil {
		return err
	}
	if changes == nil || changes.GetVersion() >= known {
		return c.applyChanges(ctx, conn, changes)
	}
	c.events.emit(ErrorEvent{Err: errors.New("the server knows less of this account than before (a restored copy?): reading it again")})
	if err := c.setAccountVersion(ctx, 0); err != nil {
		return err
	}
	listed := map[proto.ID]bool{c.Account(): true}
	err = c.eachPage(ctx, conn, changes, func(page *pb.AccountChanges) {
		for _, contact := range page.GetContacts() {
			listed[mustID(contact.GetProfile().GetAccount())] = true
		}
	})
	if err != nil {
		return err
	}
	return c.update(ctx, func(w *work) error {
		people, err := w.People()
		if err != nil {
			return err
		}
		for _, p := range people {
			if listed[p.Account] || p.State <= pb.ContactState_CONTACT_STATE_NONE {
				continue
			}
			p.State = pb.ContactState_CONTACT_STATE_NONE
			if err := w.SavePerson(p); err != nil {
				return err
			}
			contact, err := w.contact(p)
			if err != nil {
				return err
			}
			w.tell(ContactEvent{contact})
		}
		return nil
	})
}

// applyChanges stores a page of account changes, then the pages after it.
func (c *Client) applyChanges(ctx context.Context, conn *connection, changes *pb.AccountChanges) error {
	return c.eachPage(ctx, conn, changes, func(*pb.AccountChanges) {})
}

func (c *Client) eachPage(ctx context.Context, conn *connection, changes *pb.AccountChanges, look func(*pb.AccountChanges)) error {
	for changes != nil {
		look(changes)
		if err := c.applyPage(ctx, changes); err != nil {
			return err
		}
		if !changes.GetMore() {
			return nil
		}
		answer, err := conn.ask(ctx, &pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{After: changes.GetVersion()}}})
		if err != nil {
			return fmt.Errorf("account changes: %w", err)
		}
		changes = answer.GetAccountChanges()
	}
	return nil
}

func (c *Client) applyPage(ctx context.Context, changes *pb.AccountChanges) error {
	if err := c.applyOwn(ctx, changes); err != nil { // first: contacts may have come by an invitation, and be accepted at once
		return err
	}
	if err := c.takeFormer(ctx, changes.GetSettings()); err != nil {
		return err
	}
	if err := c.applySettings(ctx, changes.GetSettings()); err != nil {
		return err
	}
	if err := c.applyContacts(ctx, changes.GetContacts()); err != nil {
		return err
	}
	for _, state := range changes.GetConversations() {
		if err := c.noteState(ctx, state); err != nil {
			return err
		}
	}
	known, err := c.accountVersion(ctx)
	if err != nil || changes.GetVersion() <= known {
		return err
	}
	return c.setAccountVersion(ctx, changes.GetVersion())
}

// applySettings stores what the account's devices share.
func (c *Client) applySettings(ctx context.Context, settings []*pb.Setting) error {
	if len(settings) == 0 {
		return nil
	}
	return c.update(ctx, func(w *work) error {
		for _, s := range settings {
			if err := w.keepSetting(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// applyOwn takes what concerns the account itself.
func (c *Client) applyOwn(ctx context.Context, changes *pb.AccountChanges) error {
	if err := c.takeGenerations(ctx, changes.GetGenerationGrants()); err != nil {
		return err
	}
	if changes.GetDeviceList() == nil && changes.GetInvitations() == nil && changes.GetProfile() == nil && changes.GetPrivacy() == nil && changes.GetDevices() == nil {
		return nil
	}
	err := c.storeOwn(ctx, changes, false)
	if unknown := (*unknownDeviceError)(nil); errors.As(err, &unknown) { // an invitation of a device that was revoked
		if err := c.fetchLists(ctx, c.session.ask, c.Account()); err != nil {
			return err
		}
		err = c.storeOwn(ctx, changes, true)
	}
	return err
}

// storeOwn fails with *unknownDeviceError for an invitation signed by a device of which no list is known, unless all lists were
// fetched: then it is told and passed over.
func (c *Client) storeOwn(ctx context.Context, changes *pb.AccountChanges, fetched bool) error {
	return c.update(ctx, func(w *work) error {
		self, err := w.person(c.Account())
		if err != nil {
			return err
		}
		if p := changes.GetProfile(); p != nil {
			if err := w.takeProfile(self, p); err != nil {
				return err
			}
		}
		if p := changes.GetPrivacy(); p != nil {
			if err := w.takePrivacy(p); err != nil {
				return err
			}
		}
		if err := w.takeDevices(changes.GetDevices()); err != nil {
			return err
		}
		if changes.GetDeviceList() != nil { // one that is refused changes nothing: the list known before stays in force
			if err := w.report(w.learnList(self, changes.GetDeviceList())); err != nil {
				return err
			}
		}
		if err := w.keepInvitations(changes.GetInvitations(), fetched); err != nil {
			return err
		}
		return w.SavePerson(self)
	})
}

func (w *work) takeDevices(devices []*pb.DeviceState) error {
	for _, d := range devices {
		if err := w.takeDevice(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) keepInvitations(invitations []*pb.InvitationState, fetched bool) error {
	for _, state := range invitations {
		err := w.keepInvitation(state)
		if unknown := (*unknownDeviceError)(nil); errors.As(err, &unknown) && !fetched {
			return err
		}
		if err := w.report(err); err != nil {
			return err
		}
	}
	return nil
}

// report tells of an error, unless the transaction cannot go on after it: then it comes back.
func (w *work) report(err error) error {
	if err != nil && !broken(err) {
		w.tell(ErrorEvent{Err: err})
		return nil
	}
	return err
}

// unlessNotFound turns local.ErrNotFound into nil.
func unlessNotFound(err error) error {
	if errors.Is(err, local.ErrNotFound) {
		return nil
	}
	return err
}

func cursor(account proto.ID, delivered, read uint64) local.Cursor {
	return local.Cursor{Account: account, DeliveredSeq: delivered, ReadSeq: read}
}
