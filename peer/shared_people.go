package peer

import (
	"context"
	"net/http"

	"github.com/parley-chat/parley/proto"
)

// Calls between processes about people, devices and the account itself: see shared.go.

type (
	personArgs struct {
		Person proto.ID
		On     bool   `json:",omitempty"`
		Text   string `json:",omitempty"`
	}
	secretArgs struct {
		Name     string     `json:",omitempty"`
		Devices  []proto.ID `json:",omitempty"`
		Proof    Proof
		Password string `json:",omitempty"`
	}
	addDeviceArgs struct {
		Link     DeviceLink
		Ask      DeviceAskEvent
		Password string
	}
)

// done turns a method without a result into one of a call.
func done(err error) (nothing, error) { return nothing{}, err }

func (s *shared) peopleRoutes(mux *http.ServeMux) {
	c := s.c
	route(s, mux, "remove", func(ctx context.Context, a personArgs) (nothing, error) { return done(c.Remove(ctx, a.Person)) })
	route(s, mux, "block", func(ctx context.Context, a personArgs) (Contact, error) { return c.SetBlocked(ctx, a.Person, a.On) })
	route(s, mux, "nickname", func(ctx context.Context, a personArgs) (Contact, error) { return c.SetNickname(ctx, a.Person, a.Text) })
	route(s, mux, "hide-address", func(ctx context.Context, a personArgs) (Contact, error) {
		return c.SetHideAddressFrom(ctx, a.Person, a.On)
	})
	route(s, mux, "safety", func(ctx context.Context, a personArgs) (SafetyNumber, error) { return c.SafetyNumber(ctx, a.Person) })
	route(s, mux, "compared", func(ctx context.Context, a personArgs) (Contact, error) {
		return c.SetCompared(ctx, a.Person, a.Text, a.On)
	})
	route(s, mux, "find", func(ctx context.Context, a nameArgs) (proto.ID, error) { return c.Find(ctx, a.Name) })
	route(s, mux, "self", func(ctx context.Context, _ nothing) (Self, error) { return c.Self(ctx) })
	route(s, mux, "own-nickname", func(ctx context.Context, a nameArgs) (nothing, error) { return done(c.SetOwnNickname(ctx, a.Name)) })
	route(s, mux, "privacy", func(ctx context.Context, p Privacy) (nothing, error) { return done(c.SetPrivacy(ctx, p)) })
	route(s, mux, "presence", func(_ context.Context, a personArgs) (nothing, error) {
		c.SetPresence(a.On)
		return nothing{}, nil
	})
	route(s, mux, "conversations", func(ctx context.Context, _ nothing) ([]Conversation, error) { return c.Conversations(ctx) })
	route(s, mux, "invitations", func(ctx context.Context, _ nothing) ([]OwnInvitation, error) { return c.Invitations(ctx) })
	route(s, mux, "revoke-invitation", func(ctx context.Context, a nameArgs) (nothing, error) {
		return done(c.RevokeInvitation(ctx, a.Name))
	})
	route(s, mux, "rest", func(ctx context.Context, call restCall) ([]byte, error) { return c.do(ctx, call) })
	s.accountRoutes(mux)
}

func (s *shared) accountRoutes(mux *http.ServeMux) {
	c := s.c
	route(s, mux, "devices", func(ctx context.Context, _ nothing) ([]Device, error) { return c.Devices(ctx) })
	route(s, mux, "revoke", func(ctx context.Context, a secretArgs) (nothing, error) {
		return done(c.Revoke(ctx, a.Devices, a.Password))
	})
	route(s, mux, "revoke-others", func(ctx context.Context, a secretArgs) (int, error) { return c.RevokeOthers(ctx, a.Password) })
	route(s, mux, "device-link", func(ctx context.Context, _ nothing) (DeviceLink, error) { return c.OpenDeviceLink(ctx) })
	route(s, mux, "add-device", func(ctx context.Context, a addDeviceArgs) (nothing, error) {
		return done(c.AddDevice(ctx, a.Link, a.Ask, a.Password))
	})
	route(s, mux, "keep", func(ctx context.Context, a secretArgs) (nothing, error) { return done(c.Keep(ctx, a.Name, a.Password)) })
	route(s, mux, "password", func(ctx context.Context, a secretArgs) (nothing, error) {
		return done(c.ChangePassword(ctx, a.Proof, a.Password))
	})
	route(s, mux, "recovery", func(ctx context.Context, a secretArgs) (string, error) { return c.NewRecoveryCode(ctx, a.Proof) })
}
