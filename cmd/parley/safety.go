package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type safetyCmd struct {
	profileFlags
	personArg
	QR          bool   `name:"qr" help:"Also draw the QR code that their app can scan."`
	Match       string `help:"Compare with a number: typed, or what their QR code says. Exit code 1 if it is another." placeholder:"NUMBER"`
	Compared    bool   `help:"Mark the number as compared, on all your devices." xor:"mark"`
	NotCompared bool   `help:"Take that mark away." xor:"mark"`
	JSON        bool   `help:"One JSON object: id, user, name, number, qr, state, compared."`
}

// Help is the longer part of `parley safety --help`.
func (*safetyCmd) Help() string {
	return `The same number on both sides means that nobody stands between you and them. Read it to each other by a way that cannot be forged (meet, or
call and know the voice), then mark it:

  parley safety mia
  parley safety mia --match "1234 …" --compared

State: not-compared, compared (on a date), or changed: their identity is another one than before. Then nothing is sent to them, and the
number shown is the new one.`
}

func (s *safetyCmd) Run(ctx context.Context, io stdio) error {
	return s.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		who, err := c.Resolve(ctx, s.Name)
		if err != nil {
			return err
		}
		number, err := c.SafetyNumber(ctx, who.Account)
		if err != nil {
			return err
		}
		if err := s.match(number); err != nil {
			return err
		}
		if s.Compared || s.NotCompared {
			if offline != nil {
				return offline
			}
			if who, err = c.SetCompared(ctx, who.Account, number.Number, s.Compared); err != nil {
				return err
			}
			number.Safety = who.Safety
		}
		return s.show(io, who, number)
	})
}

// match compares with what somebody typed or scanned.
func (s *safetyCmd) match(number peer.SafetyNumber) error {
	if s.Match == "" {
		return nil
	}
	same, err := proto.MatchSafety(number.Number, s.Match)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("this is another number than %s's here: somebody may stand between you, or it was misread. Nothing was marked", s.Name)
	}
	return nil
}

func (s *safetyCmd) show(io stdio, who peer.Contact, number peer.SafetyNumber) error {
	if s.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			ID       string     `json:"id"`
			User     string     `json:"user"`
			Name     string     `json:"name"`
			Number   string     `json:"number"`
			QR       string     `json:"qr"`
			State    string     `json:"state"`
			Compared *time.Time `json:"compared,omitempty"`
		}{who.Account.String(), who.UserName, who.Name(), number.Number, number.QR, number.State, timeOrNil(number.Compared)})
	}
	state := number.State
	switch state {
	case peer.SafetyCompared:
		state = "compared on " + number.Compared.Local().Format("2006-01-02 15:04")
	case peer.SafetyNotCompared:
		state = "not compared"
	case peer.SafetyChanged:
		state = "CHANGED: " + line(who.Name()) + " has another identity than before, nothing is sent"
	}
	if _, err := fmt.Fprintf(io.out, "%s\n%s\n", number.Number, state); err != nil || !s.QR {
		return err
	}
	return drawQR(io.out, number.QR)
}
