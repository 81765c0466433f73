package signal_test

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestOlderCopy is a server that was restored from an older copy: a client that knows of later changes than there are is told
// everything, and of what happens from then on.
func TestOlderCopy(t *testing.T) {
	w := newWorld(t)
	mia, ben := w.register("mia"), w.register("ben")
	now := mia.connect(mia.device).welcome.GetChanges().GetVersion()
	if now == 0 {
		t.Fatal("a new account has no version")
	}
	if changes := mia.connectAt(mia.device, now).welcome.GetChanges(); changes.GetVersion() != now || changes.GetProfile() != nil {
		t.Errorf("a client that knows everything was told %v", changes)
	}
	s := mia.connectAt(mia.device, now+20)
	changes := s.welcome.GetChanges()
	if changes.GetVersion() != now || changes.GetProfile().GetUserName() != "mia" || changes.GetDeviceList() == nil {
		t.Errorf("a client that knows more than there is was told %v", changes)
	}
	ben.connect(ben.device).ok(&pb.Frame{Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: mia.id.Bytes()}}})
	if pushed := s.push("account changes", func(f *pb.Frame) bool { return f.GetAccountChanges() != nil }).GetAccountChanges(); pushed.GetVersion() <= now || len(pushed.GetContacts()) != 1 {
		t.Errorf("then it was told %v", pushed)
	}
}
