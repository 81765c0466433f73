package main

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestEndedInvitations: one that has expired and one that was revoked say so on the command line, and leave no profile behind.
func TestEndedInvitations(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia := stranger(t, server.url, "mia")
	socket := mia.connect()
	identity := listOf(t, socket, mia.account).GetIdentityKey()
	invite := func(expires time.Time) *proto.InvitationSecret {
		secret := proto.NewInvitation()
		signed := must(proto.SignMessage(mia.sign, proto.LabelInvitation, &pb.Invitation{
			Code: secret.Code, Account: mia.account.Bytes(), Device: mia.device.Bytes(), Uses: 1, ExpiresMs: uint64(expires.UnixMilli()),
			LinkKey: secret.LinkKey().Public().(ed25519.PublicKey),
		}))
		sealed := must(secret.Seal(&pb.InvitationSecretPart{Account: mia.account.Bytes(), IdentityKey: identity, Nickname: "mia"}))
		answer := socket.ask(&pb.Frame{Kind: &pb.Frame_CreateInvitation{CreateInvitation: &pb.CreateInvitation{Invitation: signed, Sealed: sealed}}})
		if e := answer.GetError(); e != nil {
			t.Fatal(e)
		}
		return secret
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(testPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARLEY_PASSWORD_FILE", password)
	register := func(secret *proto.InvitationSecret) (code int, said string) {
		var out, errs bytes.Buffer
		dir := t.TempDir()
		code = run(t.Context(), []string{"register", "--server", server.url, "--user", "ben", "--invite", secret.String(), "--profile", dir},
			stdio{strings.NewReader(""), &out, &errs})
		if _, err := peer.LoadProfile(dir); code != exitOK && err == nil {
			t.Error("a profile is left behind")
		}
		return code, errs.String()
	}

	short := invite(time.Now().Add(time.Second))
	eventually(t, "the invitation expires", func() bool {
		return mia.rest(http.MethodGet, "/api/v1/invitations/"+short.Code, &pb.Problem{}, nil) == http.StatusGone
	})
	if code, said := register(short); code != exitRefused || !strings.Contains(said, "expired") {
		t.Errorf("an expired invitation: exit code %d: %s", code, said)
	}
	revoked := invite(time.Now().Add(time.Hour))
	if e := socket.ask(&pb.Frame{Kind: &pb.Frame_RevokeInvitation{RevokeInvitation: &pb.RevokeInvitation{Code: revoked.Code}}}).GetError(); e != nil {
		t.Fatal(e)
	}
	if code, said := register(revoked); code != exitRefused || !strings.Contains(said, "revoked: ask for a new one") {
		t.Errorf("a revoked invitation: exit code %d: %s", code, said)
	}
	if code, said := register(invite(time.Now().Add(time.Hour))); code != exitOK {
		t.Errorf("a good invitation: exit code %d: %s", code, said)
	}
}
