package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/peer/picture"
)

type profileCmd struct {
	profileFlags
	Nickname string `help:"The name that contacts see." placeholder:"NAME"`
	Avatar   string `help:"Picture that contacts see, from a PNG, JPEG or GIF file." placeholder:"FILE" xor:"avatar"`
	NoAvatar bool   `help:"Take the picture away." xor:"avatar"`
	JSON     bool   `help:"One JSON object: id, server, user, nickname, avatar, admin, recovery."`
}

// Help is the longer part of `parley profile --help`.
func (*profileCmd) Help() string {
	return `Without flags it shows what there is. Of a picture the middle is taken, turned upright and made 256 × 256 on this device; nothing else of
the file leaves it, not where and with what it was taken.`
}

func (p *profileCmd) Run(ctx context.Context, io stdio) error {
	avatar, err := p.picture()
	if err != nil {
		return err
	}
	change := p.Nickname != "" || p.Avatar != "" || p.NoAvatar
	return p.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		if change && offline != nil {
			return offline
		}
		if p.Nickname != "" {
			if err := c.SetOwnNickname(ctx, p.Nickname); err != nil {
				return err
			}
		}
		if p.Avatar != "" || p.NoAvatar {
			if err := peer.SetAvatar(ctx, c, avatar); err != nil {
				return err
			}
		}
		if change && !p.JSON {
			return nil
		}
		return p.show(ctx, io, c)
	})
}

// picture makes the avatar, nil without one.
func (p *profileCmd) picture() ([]byte, error) {
	if p.Avatar == "" {
		return nil, nil
	}
	file, err := os.Open(p.Avatar)
	if err != nil {
		return nil, badFlag("--avatar: %v", err)
	}
	avatar, err := picture.Avatar(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, badFlag("--avatar: %s: %v", p.Avatar, err)
	}
	return avatar, nil
}

func (p *profileCmd) show(ctx context.Context, io stdio, c peer.Peer) error {
	self, err := c.Self(ctx)
	if err != nil {
		return err
	}
	if p.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			ID       string `json:"id"`
			Server   string `json:"server"`
			User     string `json:"user"`
			Nickname string `json:"nickname"`
			Avatar   string `json:"avatar,omitempty"` // SHA-256
			Admin    bool   `json:"admin"`
			Recovery bool   `json:"recovery"`
		}{self.Account.String(), self.Server, self.UserName, self.Nickname, hex.EncodeToString(self.Avatar), self.Admin, self.Recovery})
	}
	user, recovery := line(self.UserName), "none: make one with parley account recovery"
	if self.NameOnly() {
		user, recovery = "none: keep the account with parley account keep NAME", "none"
	}
	if self.Recovery {
		recovery = "there is one"
	}
	_, err = fmt.Fprintf(io.out, "user name:     %s\nnickname:      %s\npicture:       %s\nrecovery code: %s\nadministrator: %s\nserver:        %s\n",
		user, line(self.Nickname), yesNo(self.Avatar != nil), recovery, yesNo(self.Admin), self.Server)
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

type privacyCmd struct {
	profileFlags
	HidePresence string `help:"Whether you are there, away, or were last seen." enum:"on,off," default:"" placeholder:"on|off"`
	HideRead     string `help:"What you have read." enum:"on,off," default:"" placeholder:"on|off"`
	HideTyping   string `help:"That you are writing." enum:"on,off," default:"" placeholder:"on|off"`
	HideAddress  string `help:"Your addresses: all links go through the server." enum:"on,off," default:"" placeholder:"on|off"`
	JSON         bool   `help:"One JSON object: hide_presence, hide_read, hide_typing, hide_address."`
}

// Help is the longer part of `parley privacy --help`.
func (*privacyCmd) Help() string {
	return `Shows what this account hides, and changes what is named, on all its devices. Presence, read marks and typing work both ways: who hides
theirs does not see those of others. Links tell who is there, so without presence there are none. For one person's links alone:
parley contacts hide-address.`
}

func (p *privacyCmd) Run(ctx context.Context, io stdio) error {
	return p.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		self, err := c.Self(ctx)
		if err != nil {
			return err
		}
		next := self.Privacy
		for _, set := range []struct {
			to *bool
			by string
		}{{&next.HidePresence, p.HidePresence}, {&next.HideRead, p.HideRead}, {&next.HideTyping, p.HideTyping}, {&next.HideAddress, p.HideAddress}} {
			if set.by != "" {
				*set.to = set.by == "on"
			}
		}
		if p.HidePresence+p.HideRead+p.HideTyping+p.HideAddress != "" {
			if offline != nil {
				return offline
			}
			if err := c.SetPrivacy(ctx, next); err != nil {
				return err
			}
		} else if offline != nil {
			note(io, offline, "this is what the device knows")
		}
		return p.show(io, next)
	})
}

func (p *privacyCmd) show(io stdio, now peer.Privacy) error {
	if p.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			HidePresence bool `json:"hide_presence"`
			HideRead     bool `json:"hide_read"`
			HideTyping   bool `json:"hide_typing"`
			HideAddress  bool `json:"hide_address"`
		}(now))
	}
	_, err := fmt.Fprintf(io.out, "hide-presence: %s\nhide-read:     %s\nhide-typing:   %s\nhide-address:  %s\n",
		onOff(now.HidePresence), onOff(now.HideRead), onOff(now.HideTyping), onOff(now.HideAddress))
	return err
}
