package peer

import (
	"context"
	"net/http"
	"net/url"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// What an administrator of the server may do. It never shows whom somebody knows or what is written. To accounts that are no
// administrator's the server says not_found.

// AdminUsers returns all accounts whose user name or nickname contains q, oldest first.
func AdminUsers(ctx context.Context, p Peer, q string) (all []*pb.AdminUser, err error) {
	for after := ""; ; {
		page := &pb.AdminUsers{}
		query := url.Values{"q": {q}, "after": {after}}
		if err := exchange(ctx, p, http.MethodGet, "/api/v1/admin/users?"+query.Encode(), nil, page); err != nil {
			return nil, err
		}
		all = append(all, page.GetUsers()...)
		if after = page.GetAfter(); after == "" {
			return all, nil
		}
	}
}

// AdminInvitations returns all invitations, newest first.
func AdminInvitations(ctx context.Context, p Peer) (all []*pb.AdminInvitation, err error) {
	for after := ""; ; {
		page := &pb.AdminInvitations{}
		if err := exchange(ctx, p, http.MethodGet, "/api/v1/admin/invitations?"+url.Values{"after": {after}}.Encode(), nil, page); err != nil {
			return nil, err
		}
		all = append(all, page.GetInvitations()...)
		if after = page.GetAfter(); after == "" {
			return all, nil
		}
	}
}

// AdminRevokeInvitation ends an invitation, whoever made it.
func AdminRevokeInvitation(ctx context.Context, p Peer, code string) error {
	return exchange(ctx, p, http.MethodDelete, "/api/v1/admin/invitations/"+url.PathEscape(code), nil, nil)
}

// AdminSuspend ends everything that an account has open and lets it open nothing, or lets it in again.
func AdminSuspend(ctx context.Context, p Peer, account proto.ID, suspended bool) error {
	return exchange(ctx, p, http.MethodPut, "/api/v1/admin/users/"+account.String()+"/suspension", &pb.AdminSuspend{Suspended: suspended}, nil)
}

// AdminStats counts what the server holds.
func AdminStats(ctx context.Context, p Peer) (*pb.AdminStats, error) {
	stats := &pb.AdminStats{}
	return stats, exchange(ctx, p, http.MethodGet, "/api/v1/admin/stats", nil, stats)
}

// AdminSettings returns registration mode and name of the place.
func AdminSettings(ctx context.Context, p Peer) (*pb.AdminSettings, error) {
	settings := &pb.AdminSettings{}
	return settings, exchange(ctx, p, http.MethodGet, "/api/v1/admin/settings", nil, settings)
}

// SetAdminSettings changes what is not empty, without a restart, and returns what holds now.
func SetAdminSettings(ctx context.Context, p Peer, change *pb.AdminSettings) (*pb.AdminSettings, error) {
	settings := &pb.AdminSettings{}
	return settings, exchange(ctx, p, http.MethodPut, "/api/v1/admin/settings", change, settings)
}
