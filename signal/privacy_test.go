package signal_test

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func setPrivacy(p *pb.Privacy) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_SetPrivacy{SetPrivacy: &pb.SetPrivacy{Privacy: p}}}
}

func setPresence(state pb.PresenceState) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_SetPresence{SetPresence: &pb.SetPresence{State: state}}}
}

func isCursor(f *pb.Frame) bool { return f.GetCursorMoved() != nil }
func isTyping(f *pb.Frame) bool { return f.GetTyping() != nil }

// TestHidePresence: who hides it is offline to contacts, and they to them; other devices of one's own are not affected.
func TestHidePresence(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	own := a.connect(a.addDevice())
	sa.clear()
	sb.clear()
	if got := sa.ok(setPrivacy(&pb.Privacy{HidePresence: true})).GetAccountChanges().GetPrivacy(); !got.GetHidePresence() || got.GetHideRead() || got.GetHideTyping() {
		t.Errorf("the changes say %v", got)
	}
	own.push("the setting", func(f *pb.Frame) bool { return f.GetAccountChanges().GetPrivacy().GetHidePresence() })
	for _, s := range []*socket{sa, sb} {
		p := s.push("the other, offline", isPresence).GetPresences().GetPresences()[0]
		if p.GetState() != pb.PresenceState_PRESENCE_STATE_OFFLINE || p.GetLastSeenMs() != 0 || len(p.GetDevices()) > 0 {
			t.Errorf("presence: %v", p)
		}
		s.clear()
	}
	sa.send(setPresence(pb.PresenceState_PRESENCE_STATE_AWAY))
	sb.send(setPresence(pb.PresenceState_PRESENCE_STATE_AWAY))
	sa.ok(ice())
	sb.ok(ice())
	again := b.connect(b.device)
	sa.none("a presence", isPresence)
	again.none("a presence", isPresence)
	if got := again.welcome.GetPresences(); len(got) > 0 {
		t.Errorf("a contact who comes back sees %v", got)
	}
	if got := a.connect(a.device).welcome.GetPresences(); len(got) > 0 {
		t.Errorf("who hides sees %v", got)
	}
	again.refused(signalTo(a, a.device, description("v=0")), pb.ErrorCode_ERROR_CODE_OFFLINE)
	own.ok(signalTo(a, a.device, description("v=0"))) // one's own device
	own.clear()
	again.clear()
	own.ok(setPrivacy(&pb.Privacy{}))
	for _, s := range []*socket{own, again} {
		if p := s.push("the other", isPresence).GetPresences().GetPresences()[0]; p.GetState() == pb.PresenceState_PRESENCE_STATE_OFFLINE {
			t.Errorf("presence: %v", p)
		}
	}
	again.ok(signalTo(a, a.device, description("v=0")))
}

// TestHideRead: read cursors of neither side are shown to the other, whoever hides; what was delivered is.
func TestHideRead(t *testing.T) {
	for _, hider := range []string{"reader", "other"} {
		t.Run(hider, func(t *testing.T) {
			w := newWorld(t)
			a, b, sa, sb := w.connected()
			pair, own := conversation(a, b), a.connect(a.addDevice())
			posted(t, sb.ok(b.envelope(a, 1, 1, "hi")))
			sb.moveCursor(pair, 1)
			hides := sa
			if hider == "other" {
				hides = sb
			}
			hides.ok(setPrivacy(&pb.Privacy{HideRead: true}))
			sa.clear()
			sb.clear()
			own.clear()
			sa.ok(&pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: pair, DeliveredSeq: 2}}})
			if m := sb.push("what was delivered", isCursor).GetCursorMoved(); m.GetDeliveredSeq() != 2 || m.GetReadSeq() != 0 {
				t.Errorf("the other hears %v", m)
			}
			own.push("what was delivered", isCursor)
			sa.moveCursor(pair, 2)
			if m := own.push("what was read", isCursor).GetCursorMoved(); m.GetReadSeq() != 2 || m.GetUnread() != 0 {
				t.Errorf("the own device hears %v", m)
			}
			sb.none("a read mark", isCursor)
			for who, c := range map[string]struct {
				s         *socket
				own, them *person
				read      uint64
			}{"reader": {sa, a, b, 2}, "other": {sb, b, a, 1}} {
				page := c.s.stateOf(pair)
				if own, them := cursorsOf(page, c.own)[1], cursorsOf(page, c.them)[1]; own != c.read || them != 0 || page.GetState().GetReadSeq() != c.read {
					t.Errorf("the %s sees itself at %d and the other at %d", who, own, them)
				}
			}
			hides.ok(setPrivacy(&pb.Privacy{}))
			if got := cursorsOf(sb.stateOf(pair), a); got != [2]uint64{2, 2} {
				t.Errorf("shown again: %v", got)
			}
		})
	}
}

// TestHideTyping: nobody hears of typing if either hides it.
func TestHideTyping(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	pair := conversation(a, b)
	both := func() {
		sa.send(typing(pair))
		sb.send(typing(pair))
		sa.ok(ice())
		sb.ok(ice())
	}
	both()
	sa.push("typing", isTyping)
	sb.push("typing", isTyping)
	sa.ok(setPrivacy(&pb.Privacy{HideTyping: true}))
	both()
	sa.none("typing", isTyping)
	sb.none("typing", isTyping)
	sa.ok(setPrivacy(nil))
	both()
	sa.push("typing", isTyping)
	sb.push("typing", isTyping)
}
