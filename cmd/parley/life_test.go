package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const newTestPassword = "seven green umbrellas"

// life is an account that grows devices and loses them, seen by its one contact.
type life struct {
	t            *testing.T
	url          string
	ben          *peer.Client
	conversation proto.ID
	said         []string // all that ben wrote, in this order
}

// say has ben write something, and waits until the relay has it.
func (l *life) say(text string) {
	l.t.Helper()
	l.said = append(l.said, text)
	send(l.t, l.ben, l.conversation, text, peer.StateSent)
}

// reads waits until a device shows everything that was ever said, and nothing else.
func (l *life) reads(name string, c *peer.Client) {
	l.t.Helper()
	want := strings.Join(l.said, "|")
	eventually(l.t, name+" reads "+want, func() bool { return texts(l.t, c, l.conversation) == want })
}

// byLink adds a device by a device link of another one.
func byLink(t *testing.T, older *peer.Client, password string) (*peer.Client, string) {
	t.Helper()
	sub := older.Subscribe()
	defer sub.Cancel()
	link, err := older.OpenDeviceLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, added := t.TempDir(), make(chan error, 1)
	go func() {
		_, err := peer.LoginByLink(t.Context(), peer.Options{Dir: dir, DeviceName: "by link"}, peer.Credentials{}, link.URL)
		added <- err
	}()
	ask, err := awaitDevice(t.Context(), older, sub, link)
	if err != nil {
		t.Fatal(err)
	}
	device, err := link.Open(ask)
	if err != nil || device.Name != "by link" {
		t.Fatalf("it is called %q: %v", device.Name, err)
	}
	if err := older.AddDevice(t.Context(), link, ask, password); err != nil {
		t.Fatal(err)
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	return openClient(t, dir), dir
}

// TestLifeOfAnAccount: join by name, keep, a second device by a device link, a third by password, revoke the first, change the
// password, lose everything but the recovery code, delete. After each step it looks who reads what.
func TestLifeOfAnAccount(t *testing.T) {
	data := t.TempDir()
	server := startServer(t, "127.0.0.1:0", data)
	ben, _ := register(t, server.url, "ben", "")
	l := &life{t: t, url: server.url, ben: ben}
	invitation, err := ben.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}

	firstDir := t.TempDir()
	_, err = peer.Register(t.Context(), peer.Options{Dir: firstDir, DeviceName: "first"}, peer.Credentials{Server: server.url, Nickname: "Mia", Invitation: invitation.Code})
	if err != nil {
		t.Fatal(err)
	}
	first := openClient(t, firstDir)
	l.conversation = proto.PairID(first.Account(), ben.Account())
	eventually(t, "ben knows Mia", func() bool {
		who, err := ben.Resolve(t.Context(), "Mia")
		return err == nil && who.State == peer.ContactAccepted && who.Invitation != ""
	})
	l.say("by name")
	l.reads("first", first)
	if _, err := first.NewRecoveryCode(t.Context(), peer.Proof{Password: testPassword}); err == nil {
		t.Error("an account without a password has a recovery code")
	}

	l.keep(first, firstDir)
	second, secondDir := byLink(t, first, testPassword)
	l.reads("second, by link", second)
	l.say("two devices")
	l.reads("first", first)
	l.reads("second", second)
	thirdDir := t.TempDir()
	_, err = peer.Login(t.Context(), peer.Options{Dir: thirdDir, DeviceName: "third"}, peer.Credentials{Server: server.url, User: "mia", Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	third := openClient(t, thirdDir)
	l.reads("third, by password", third)

	l.revoke(first, firstDir, second)
	l.reads("second", second)
	l.reads("third", third)
	savedCopy(t, data, firstDir, l.conversation, l.said)

	l.changePassword(second, third)
	code, err := second.NewRecoveryCode(t.Context(), peer.Proof{Password: newTestPassword})
	if err != nil {
		t.Fatal(err)
	}
	fourth := l.recover(code, second, third)
	for _, dir := range []string{secondDir, thirdDir} { // whoever has them by now is out
		if _, err := openUntilEnded(t, dir); !errors.Is(err, peer.ErrSignedOut) {
			t.Errorf("a lost device: %v", err)
		}
	}
	l.delete(fourth)
	assertSealed(t, data, append(l.said, testPassword, newTestPassword, code)...)
}

// keep gives the account a name and a password; the device's copy of the identity is gone then.
func (l *life) keep(first *peer.Client, dir string) {
	l.t.Helper()
	if err := first.Keep(l.t.Context(), "ben", testPassword); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_CONFLICT) {
		l.t.Errorf("a name that is taken: %v", err)
	}
	if err := first.Keep(l.t.Context(), "mia", "password"); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS) {
		l.t.Errorf("a common password: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "profile.json")); err != nil || !bytes.Contains(b, []byte("identity_seed")) {
		l.t.Errorf("a refused keep took the identity: %v", err)
	}
	if err := first.Keep(l.t.Context(), "mia", testPassword); err != nil {
		l.t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "profile.json")); err != nil || bytes.Contains(b, []byte("identity_seed")) {
		l.t.Errorf("the identity is still on the device: %v", err)
	}
	if err := first.Keep(l.t.Context(), "mia2", testPassword); !errors.Is(err, peer.ErrKept) {
		l.t.Errorf("kept twice: %v", err)
	}
	self, err := first.Self(l.t.Context())
	if err != nil || self.UserName != "mia" || self.NameOnly() || self.Keeper {
		l.t.Errorf("%+v, %v", self, err)
	}
	l.say("kept")
	l.reads("first", first)
}

// revoke takes the first device away: at once, and for good.
func (l *life) revoke(first *peer.Client, dir string, second *peer.Client) {
	l.t.Helper()
	sub := first.Subscribe()
	if err := second.Revoke(l.t.Context(), []proto.ID{first.Device()}, "not the password"); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) {
		l.t.Errorf("with a wrong password: %v", err)
	}
	if err := second.Revoke(l.t.Context(), []proto.ID{first.Device()}, ""); !errors.Is(err, peer.ErrPasswordNeeded) {
		l.t.Errorf("without a password: %v", err)
	}
	if err := second.Revoke(l.t.Context(), []proto.ID{second.Device()}, testPassword); err == nil {
		l.t.Error("a device revoked itself")
	}
	if err := second.Revoke(l.t.Context(), []proto.ID{proto.NewID()}, testPassword); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
		l.t.Errorf("a device that there is not: %v", err)
	}
	if err := second.Revoke(l.t.Context(), []proto.ID{first.Device()}, testPassword); err != nil {
		l.t.Fatal(err)
	}
	ends(l.t, first, sub, peer.ErrSignedOut)
	devices, err := second.Devices(l.t.Context())
	if err != nil || len(devices) != 2 || !devices[0].Current || devices[0].Name != "by link" || devices[1].Name != "third" {
		l.t.Errorf("devices %+v, %v", devices, err)
	}
	before := texts(l.t, first, l.conversation)
	l.say("after the first was lost")
	if got := texts(l.t, first, l.conversation); got != before {
		l.t.Errorf("the lost device reads %q", got)
	}
	if err := first.Close(); err != nil {
		l.t.Fatal(err)
	}
	c, err := openUntilEnded(l.t, dir)
	if !errors.Is(err, peer.ErrSignedOut) || texts(l.t, c, l.conversation) != before {
		l.t.Errorf("the lost device, opened again: %v, it reads %q", err, texts(l.t, c, l.conversation))
	}
	if err := c.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// openUntilEnded opens a profile that the server lets in no more, and returns why it ended.
func openUntilEnded(t *testing.T, dir string) (*peer.Client, error) {
	t.Helper()
	c, err := peer.Open(t.Context(), peer.Config{Options: peer.Options{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	select {
	case <-c.Ended():
	case <-time.After(patience):
		t.Fatal("it never ended")
	}
	return c, c.Err()
}

// changePassword on one device: the other goes on by its key, and the old password opens nothing.
func (l *life) changePassword(second, third *peer.Client) {
	l.t.Helper()
	for password, proof := range map[string]peer.Proof{newTestPassword: {Password: "not the password"}, "12345678": {Password: testPassword}} {
		if err := second.ChangePassword(l.t.Context(), proof, password); err == nil {
			l.t.Errorf("changed to %s", password)
		}
	}
	if err := second.ChangePassword(l.t.Context(), peer.Proof{Password: testPassword}, newTestPassword); err != nil {
		l.t.Fatal(err)
	}
	opts, c := peer.Options{Dir: l.t.TempDir()}, peer.Credentials{Server: l.url, User: "mia", Password: testPassword}
	if _, err := peer.Login(l.t.Context(), opts, c); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) {
		l.t.Errorf("the old password: %v", err)
	}
	l.say("another password")
	l.reads("second", second)
	l.reads("third", third)
}

// recover loses every device and the password, and has the account again by the code alone.
func (l *life) recover(code string, lost ...*peer.Client) *peer.Client {
	l.t.Helper()
	for _, c := range lost {
		if err := c.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	dir := l.t.TempDir()
	opts, c := peer.Options{Dir: dir, DeviceName: "fourth"}, peer.Credentials{Server: l.url, User: "mia"}
	if _, err := peer.LoginRecovery(l.t.Context(), opts, c, proto.NewRecoveryCode().String()); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) {
		l.t.Errorf("another code: %v", err)
	}
	if _, err := peer.LoginRecovery(l.t.Context(), opts, c, strings.ToUpper(strings.ReplaceAll(code, "-", " "))); err != nil {
		l.t.Fatal(err)
	}
	fourth := openClient(l.t, dir)
	l.reads("fourth, by recovery", fourth)
	if err := fourth.ChangePassword(l.t.Context(), peer.Proof{Recovery: code}, testPassword); err != nil {
		l.t.Fatal(err)
	}
	if n, err := fourth.RevokeOthers(l.t.Context(), testPassword); n != 2 || err != nil {
		l.t.Errorf("revoked %d others: %v", n, err)
	}
	next, err := fourth.NewRecoveryCode(l.t.Context(), peer.Proof{Password: testPassword})
	if err != nil || next == code {
		l.t.Errorf("another code: %v", err)
	}
	if _, err := peer.LoginRecovery(l.t.Context(), peer.Options{Dir: l.t.TempDir()}, c, code); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) {
		l.t.Errorf("the code before: %v", err)
	}
	l.say("recovered")
	l.reads("fourth", fourth)
	return fourth
}

// delete ends the account; the contact keeps what was written, and hears of it.
func (l *life) delete(c *peer.Client) {
	l.t.Helper()
	dir, sub := c.Dir(), c.Subscribe()
	p, err := peer.LoadProfile(dir)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := peer.DeleteAccount(l.t.Context(), peer.Options{}, p, "not the password"); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) {
		l.t.Errorf("with a wrong password: %v", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- peer.DeleteAccount(l.t.Context(), peer.Options{}, p, testPassword) }()
	ends(l.t, c, sub, peer.ErrSignedOut)
	if err := c.Close(); err != nil {
		l.t.Error(err)
	}
	if err := <-gone; err != nil {
		l.t.Fatal(err)
	}
	if _, err := peer.LoadProfile(dir); !errors.Is(err, peer.ErrNoProfile) {
		l.t.Errorf("the profile is still there: %v", err)
	}
	eventually(l.t, "ben hears of it", func() bool {
		_, err := l.ben.Resolve(l.t.Context(), "mia")
		return errors.Is(err, peer.ErrNoSuchName)
	})
	if got := texts(l.t, l.ben, l.conversation); got != strings.Join(l.said, "|") {
		l.t.Errorf("ben has %q", got)
	}
	if _, err := l.ben.SendText(l.t.Context(), l.conversation, "hello?"); !errors.Is(err, peer.ErrNoContact) {
		l.t.Errorf("to an account that is gone: %v", err)
	}
	register(l.t, l.url, "mia", "") // the name is free again
}
