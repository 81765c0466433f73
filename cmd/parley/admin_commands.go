package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// adminCmd is for administrators of the server.
type adminCmd struct {
	Users    adminUsersCmd    `cmd:"" help:"List the accounts."`
	Invites  adminInvitesCmd  `cmd:"" help:"List or revoke invitations, whoever made them."`
	Suspend  adminSuspendCmd  `cmd:"" help:"Suspend an account, or let it in again."`
	Reset    adminResetCmd    `cmd:"" help:"Let somebody who lost everything start again with a new identity."`
	Stats    adminStatsCmd    `cmd:"" help:"Count what the server holds."`
	Settings adminSettingsCmd `cmd:"" help:"Show or change who may register and the place's name, without a restart."`
}

// Help is the longer part of `parley admin --help`.
func (*adminCmd) Help() string {
	return `For administrators of the server: the account that its set-up link made. It shows accounts, invitations and totals, never whom somebody
knows or what is written; an administrator cannot read or join a conversation.`
}

// asAdministrator opens the profile and says in plain words when the account is no administrator's.
func (p profileFlags) asAdministrator(ctx context.Context, f func(peer.Peer) error) error {
	return p.with(ctx, func(c peer.Peer) error {
		self, err := c.Self(ctx)
		if err != nil {
			return err
		}
		if !self.Admin {
			return &refusedError{"this account is no administrator of " + self.Server}
		}
		return f(c)
	})
}

type adminUsersCmd struct {
	profileFlags
	Search string `arg:"" optional:"" help:"Only those whose user name or nickname contains this."`
	JSON   bool   `help:"One JSON object per line: id, user, nickname, admin, created, last_seen, suspended, devices, bytes."`
}

func (u *adminUsersCmd) Run(ctx context.Context, io stdio) error {
	return u.asAdministrator(ctx, func(c peer.Peer) error {
		all, err := peer.AdminUsers(ctx, c, u.Search)
		if err != nil {
			return err
		}
		for _, user := range all {
			if err := u.show(io, user); err != nil {
				return err
			}
		}
		return nil
	})
}

func timeOfMS(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(min(ms, 1<<52))).UTC()
}

func (u *adminUsersCmd) show(io stdio, user *pb.AdminUser) error {
	id, err := proto.IDFrom(user.GetAccount())
	if err != nil {
		return err
	}
	seen, suspended := timeOfMS(user.GetLastSeenMs()), timeOfMS(user.GetSuspendedMs())
	if u.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			ID        string     `json:"id"`
			User      string     `json:"user"`
			Nickname  string     `json:"nickname"`
			Admin     bool       `json:"admin"`
			Created   time.Time  `json:"created"`
			LastSeen  *time.Time `json:"last_seen,omitempty"`
			Suspended *time.Time `json:"suspended,omitempty"`
			Devices   uint32     `json:"devices"`
			Bytes     uint64     `json:"bytes"`
		}{
			id.String(), user.GetUserName(), user.GetNickname(), user.GetAdmin(), timeOfMS(user.GetCreatedMs()), timeOrNil(seen), timeOrNil(suspended),
			user.GetDevices(), user.GetStoredBytes(),
		})
	}
	row := fmt.Sprintf("%s  %-20s %-20s %d devices, %d KiB, seen %s", id, line(user.GetUserName()), line(user.GetNickname()), user.GetDevices(),
		(user.GetStoredBytes()+1023)/1024, day(seen))
	if user.GetAdmin() {
		row += ", administrator"
	}
	if !suspended.IsZero() {
		row += ", suspended since " + day(suspended)
	}
	_, err = fmt.Fprintln(io.out, row)
	return err
}

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02")
}

type adminInvitesCmd struct {
	List   adminInvitesListCmd   `cmd:"" default:"withargs" help:"List all invitations, newest first."`
	Revoke adminInvitesRevokeCmd `cmd:"" help:"End an invitation, whoever made it."`
}

type adminInvitesListCmd struct {
	profileFlags
	JSON bool `help:"One JSON object per line: code, by, by_id, uses, uses_left, created, expires, revoked."`
}

func (l *adminInvitesListCmd) Run(ctx context.Context, io stdio) error {
	return l.asAdministrator(ctx, func(c peer.Peer) error {
		all, err := peer.AdminInvitations(ctx, c)
		if err != nil {
			return err
		}
		for _, inv := range all {
			if err := l.show(io, inv); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *adminInvitesListCmd) show(io stdio, inv *pb.AdminInvitation) error {
	by, err := proto.IDFrom(inv.GetAccount())
	if err != nil {
		return err
	}
	expires := timeOfMS(inv.GetExpiresMs())
	if l.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			Code     string    `json:"code"`
			By       string    `json:"by"`
			ByID     string    `json:"by_id"`
			Uses     uint32    `json:"uses"`
			UsesLeft uint32    `json:"uses_left"`
			Created  time.Time `json:"created"`
			Expires  time.Time `json:"expires"`
			Revoked  bool      `json:"revoked"`
		}{inv.GetCode(), inv.GetNickname(), by.String(), inv.GetUses(), inv.GetUsesLeft(), timeOfMS(inv.GetCreatedMs()), expires, inv.GetRevoked()})
	}
	state := invitationState(peer.OwnInvitation{Expires: expires, UsesLeft: inv.GetUsesLeft(), Revoked: inv.GetRevoked()})
	_, err = fmt.Fprintf(io.out, "%s  %-8s %d of %d left, until %s, by %s\n", inv.GetCode(), state, inv.GetUsesLeft(), inv.GetUses(), day(expires), line(inv.GetNickname()))
	return err
}

type adminInvitesRevokeCmd struct {
	profileFlags
	Code string `arg:"" help:"The code, as parley admin invites shows it."`
}

func (r *adminInvitesRevokeCmd) Run(ctx context.Context) error {
	if err := proto.CheckInvitationCode(r.Code); err != nil {
		return err
	}
	return r.asAdministrator(ctx, func(c peer.Peer) error { return peer.AdminRevokeInvitation(ctx, c, r.Code) })
}

type adminSuspendCmd struct {
	profileFlags
	Name string `arg:"" help:"User name, or the id that parley admin users shows."`
	Lift bool   `help:"Let the account in again."`
}

// Help is the longer part of `parley admin suspend --help`.
func (*adminSuspendCmd) Help() string {
	return `A suspended account keeps everything and can do nothing: all its sessions end at once, and whoever proves to be it hears why.`
}

func (s *adminSuspendCmd) Run(ctx context.Context) error {
	return s.asAdministrator(ctx, func(c peer.Peer) error {
		account, err := accountNamed(ctx, c, s.Name)
		if err != nil {
			return err
		}
		return peer.AdminSuspend(ctx, c, account, !s.Lift)
	})
}

// accountNamed finds the one account of the server with a user name or an id.
func accountNamed(ctx context.Context, c peer.Peer, name string) (proto.ID, error) {
	if id, err := proto.ParseID(name); err == nil {
		return id, nil
	}
	folded, err := proto.FoldUserName(name)
	if err != nil {
		return proto.ID{}, err
	}
	all, err := peer.AdminUsers(ctx, c, folded)
	if err != nil {
		return proto.ID{}, err
	}
	for _, user := range all {
		if theirs, err := proto.FoldUserName(user.GetUserName()); err == nil && theirs == folded {
			return proto.IDFrom(user.GetAccount())
		}
	}
	return proto.ID{}, fmt.Errorf("%w on this server: %q", peer.ErrNoSuchName, name)
}

type adminStatsCmd struct {
	profileFlags
	JSON bool `help:"One JSON object: accounts, accounts_seen_today, suspended, devices, connections, conversations, messages, database_bytes, invitations_open."`
}

func (s *adminStatsCmd) Run(ctx context.Context, io stdio) error {
	return s.asAdministrator(ctx, func(c peer.Peer) error {
		stats, err := peer.AdminStats(ctx, c)
		if err != nil {
			return err
		}
		rows := []struct {
			name, key string
			n         uint64
		}{
			{"accounts", "accounts", stats.GetAccounts()},
			{"seen today", "accounts_seen_today", stats.GetAccountsSeenToday()},
			{"suspended", "suspended", stats.GetSuspended()},
			{"devices", "devices", stats.GetDevices()},
			{"connections", "connections", stats.GetConnections()},
			{"conversations", "conversations", stats.GetConversations()},
			{"messages", "messages", stats.GetMessages()},
			{"database bytes", "database_bytes", stats.GetDatabaseBytes()},
			{"open invitations", "invitations_open", stats.GetInvitationsOpen()},
		}
		if s.JSON {
			all := make(map[string]uint64)
			for _, row := range rows {
				all[row.key] = row.n
			}
			return json.NewEncoder(io.out).Encode(all)
		}
		var errs []error
		for _, row := range rows {
			_, err := fmt.Fprintf(io.out, "%-17s %d\n", row.name+":", row.n)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

type adminSettingsCmd struct {
	profileFlags
	Registration string `help:"Who may register: open (anybody), invite (with an invitation) or closed." enum:"open,invite,closed," default:"" placeholder:"MODE"`
	Name         string `help:"What the place is called." placeholder:"TEXT"`
	JSON         bool   `help:"One JSON object: registration, name."`
}

// Help is the longer part of `parley admin settings --help`.
func (*adminSettingsCmd) Help() string {
	return `Shows both, and changes what is named. It holds at once and outlives a restart, whatever --registration the server is started with.`
}

func (s *adminSettingsCmd) Run(ctx context.Context, io stdio) error {
	return s.asAdministrator(ctx, func(c peer.Peer) (err error) {
		var now *pb.AdminSettings
		if s.Registration != "" || s.Name != "" {
			now, err = peer.SetAdminSettings(ctx, c, &pb.AdminSettings{Registration: s.Registration, ServerName: s.Name})
		} else {
			now, err = peer.AdminSettings(ctx, c)
		}
		if err != nil {
			return err
		}
		if s.JSON {
			return json.NewEncoder(io.out).Encode(map[string]string{"registration": now.GetRegistration(), "name": now.GetServerName()})
		}
		_, err = fmt.Fprintf(io.out, "registration: %s\nname:         %s\n", now.GetRegistration(), line(now.GetServerName()))
		return err
	})
}
