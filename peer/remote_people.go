package peer

import (
	"context"

	"github.com/parley-chat/parley/proto"
)

// tell makes a call without a result.
func (r *Remote) tell(ctx context.Context, name string, in any) error {
	_, err := ask[nothing](ctx, r, name, in)
	return err
}

// Remove is Client.Remove.
func (r *Remote) Remove(ctx context.Context, person proto.ID) error {
	return r.tell(ctx, "remove", personArgs{Person: person})
}

// SetBlocked is Client.SetBlocked.
func (r *Remote) SetBlocked(ctx context.Context, person proto.ID, blocked bool) (Contact, error) {
	return ask[Contact](ctx, r, "block", personArgs{Person: person, On: blocked})
}

// SetNickname is Client.SetNickname.
func (r *Remote) SetNickname(ctx context.Context, person proto.ID, nickname string) (Contact, error) {
	return ask[Contact](ctx, r, "nickname", personArgs{Person: person, Text: nickname})
}

// SetHideAddressFrom is Client.SetHideAddressFrom.
func (r *Remote) SetHideAddressFrom(ctx context.Context, person proto.ID, hide bool) (Contact, error) {
	return ask[Contact](ctx, r, "hide-address", personArgs{Person: person, On: hide})
}

// SafetyNumber is Client.SafetyNumber.
func (r *Remote) SafetyNumber(ctx context.Context, person proto.ID) (SafetyNumber, error) {
	return ask[SafetyNumber](ctx, r, "safety", personArgs{Person: person})
}

// SetCompared is Client.SetCompared.
func (r *Remote) SetCompared(ctx context.Context, person proto.ID, number string, compared bool) (Contact, error) {
	return ask[Contact](ctx, r, "compared", personArgs{Person: person, Text: number, On: compared})
}

// Find is Client.Find.
func (r *Remote) Find(ctx context.Context, userName string) (proto.ID, error) {
	return ask[proto.ID](ctx, r, "find", nameArgs{Name: userName})
}

// Self is Client.Self.
func (r *Remote) Self(ctx context.Context) (Self, error) { return ask[Self](ctx, r, "self", nothing{}) }

// SetOwnNickname is Client.SetOwnNickname.
func (r *Remote) SetOwnNickname(ctx context.Context, nickname string) error {
	return r.tell(ctx, "own-nickname", nameArgs{Name: nickname})
}

// SetPrivacy is Client.SetPrivacy.
func (r *Remote) SetPrivacy(ctx context.Context, p Privacy) error { return r.tell(ctx, "privacy", p) }

// SetPresence is Client.SetPresence.
func (r *Remote) SetPresence(away bool) {
	_ = r.tell(context.Background(), "presence", personArgs{On: away}) // as for a Client: told if that is possible right now
}

// Devices is Client.Devices.
func (r *Remote) Devices(ctx context.Context) ([]Device, error) {
	return ask[[]Device](ctx, r, "devices", nothing{})
}

// Revoke is Client.Revoke.
func (r *Remote) Revoke(ctx context.Context, devices []proto.ID, password string) error {
	return r.tell(ctx, "revoke", secretArgs{Devices: devices, Password: password})
}

// RevokeOthers is Client.RevokeOthers.
func (r *Remote) RevokeOthers(ctx context.Context, password string) (int, error) {
	return ask[int](ctx, r, "revoke-others", secretArgs{Password: password})
}

// OpenDeviceLink is Client.OpenDeviceLink.
func (r *Remote) OpenDeviceLink(ctx context.Context) (DeviceLink, error) {
	return ask[DeviceLink](ctx, r, "device-link", nothing{})
}

// AddDevice is Client.AddDevice.
func (r *Remote) AddDevice(ctx context.Context, link DeviceLink, event DeviceAskEvent, password string) error {
	return r.tell(ctx, "add-device", addDeviceArgs{link, event, password})
}

// Keep is Client.Keep.
func (r *Remote) Keep(ctx context.Context, user, password string) error {
	return r.tell(ctx, "keep", secretArgs{Name: user, Password: password})
}

// ChangePassword is Client.ChangePassword.
func (r *Remote) ChangePassword(ctx context.Context, proof Proof, password string) error {
	return r.tell(ctx, "password", secretArgs{Proof: proof, Password: password})
}

// NewRecoveryCode is Client.NewRecoveryCode.
func (r *Remote) NewRecoveryCode(ctx context.Context, proof Proof) (string, error) {
	return ask[string](ctx, r, "recovery", secretArgs{Proof: proof})
}

// Conversations is Client.Conversations.
func (r *Remote) Conversations(ctx context.Context) ([]Conversation, error) {
	return ask[[]Conversation](ctx, r, "conversations", nothing{})
}

// Invitations is Client.Invitations.
func (r *Remote) Invitations(ctx context.Context) ([]OwnInvitation, error) {
	return ask[[]OwnInvitation](ctx, r, "invitations", nothing{})
}

// RevokeInvitation is Client.RevokeInvitation.
func (r *Remote) RevokeInvitation(ctx context.Context, text string) error {
	return r.tell(ctx, "revoke-invitation", nameArgs{Name: text})
}

func (r *Remote) do(ctx context.Context, call restCall) ([]byte, error) {
	return ask[[]byte](ctx, r, "rest", call)
}
