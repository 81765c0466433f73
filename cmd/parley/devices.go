package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type devicesCmd struct {
	List   deviceListCmd   `cmd:"" help:"List the account's devices."`
	Link   deviceLinkCmd   `cmd:"" help:"Show a link by which a new device is added, without typing a password there."`
	Revoke deviceRevokeCmd `cmd:"" help:"Sign a lost device out for good, or all others."`
}

type deviceListCmd struct {
	profileFlags
	JSON bool `help:"One JSON object per line: id, name, current, added, last_used, last_address."`
}

func (l *deviceListCmd) Run(ctx context.Context, io stdio) error {
	return l.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		all, err := c.Devices(ctx)
		if err != nil {
			return err
		}
		if offline != nil {
			note(io, offline, "this is what the device knows")
		}
		for _, d := range all {
			if err := l.show(io, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *deviceListCmd) show(io stdio, d peer.Device) error {
	if l.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			ID          string     `json:"id"`
			Name        string     `json:"name"`
			Current     bool       `json:"current"`
			Added       time.Time  `json:"added"`
			LastUsed    *time.Time `json:"last_used"`
			LastAddress string     `json:"last_address"`
		}{d.ID.String(), d.Name, d.Current, d.Added, timeOrNil(d.LastUsed), d.LastAddress})
	}
	used := "never used"
	switch {
	case d.Current:
		used = "this device"
	case !d.LastUsed.IsZero():
		used = "last used " + d.LastUsed.Local().Format("2006-01-02 15:04")
		if d.LastAddress != "" {
			used += " from " + line(d.LastAddress)
		}
	}
	_, err := fmt.Fprintf(io.out, "%s  %s  (%s)\n", d.ID, line(d.Name), used)
	return err
}

type deviceRevokeCmd struct {
	profileFlags
	ID     []string `arg:"" optional:"" help:"Device, as parley devices list shows it."`
	Others bool     `help:"All devices but this one."`
}

// Help is the longer part of `parley devices revoke --help`.
func (*deviceRevokeCmd) Help() string {
	return `Its session ends at once, and it can read nothing that is sent from now on, even with a copy of all that the server has. What it had
received it may still have. It takes the account's password, from PARLEY_PASSWORD_FILE or the terminal; if that may be known, change it too.`
}

func (r *deviceRevokeCmd) Run(ctx context.Context, io stdio) error {
	ids, err := r.ids()
	if err != nil {
		return err
	}
	return r.with(ctx, func(c peer.Peer) error {
		n := len(ids)
		err := withPassword(io, func(secret string) (err error) {
			if r.Others {
				n, err = c.RevokeOthers(ctx, secret)
				return err
			}
			return c.Revoke(ctx, ids, secret)
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.out, "revoked %d\n", n)
		return err
	})
}

func (r *deviceRevokeCmd) ids() (ids []proto.ID, err error) {
	if r.Others == (len(r.ID) > 0) {
		return nil, badFlag("name the devices to sign out, or say --others")
	}
	for _, text := range r.ID {
		id, err := proto.ParseID(text)
		if err != nil {
			return nil, badFlag("%q is no device: see parley devices list", text)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

type deviceLinkCmd struct {
	profileFlags
	Yes  bool `help:"Add whichever device answers the link, without asking."`
	NoQR bool `name:"no-qr" help:"Do not draw the QR code."`
}

// Help is the longer part of `parley devices link --help`.
func (*deviceLinkCmd) Help() string {
	return `Scan the QR code with the new device, or copy the link to it: parley login --link LINK. Then this one shows the new device's name, asks
whether to add it, and for the account's password if there is one. The whole history opens there. A link works for ten minutes and for one
device: show it to nobody else.`
}

func (l *deviceLinkCmd) Run(ctx context.Context, io stdio) error {
	return l.with(ctx, func(c peer.Peer) error {
		sub := c.Subscribe()
		defer sub.Cancel()
		link, err := c.OpenDeviceLink(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(io.out, link.URL); err != nil {
			return err
		}
		if !l.NoQR {
			if err := drawQR(io.out, link.URL); err != nil {
				return err
			}
		}
		_, _ = fmt.Fprintln(io.err, "Waiting for the new device until", link.Expires.Local().Format("15:04"))
		ask, err := awaitDevice(ctx, c, sub, link)
		if err != nil {
			return err
		}
		return l.add(ctx, io, c, link, ask)
	})
}

func (l *deviceLinkCmd) add(ctx context.Context, io stdio, c peer.Peer, link peer.DeviceLink, ask peer.DeviceAskEvent) error {
	device, err := link.Open(ask)
	if err != nil {
		return err
	}
	if err := confirm(io, l.Yes, fmt.Sprintf("add the device %q to this account", line(device.Name))); err != nil {
		return err
	}
	err = withPassword(io, func(secret string) error { return c.AddDevice(ctx, link, ask, secret) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "added", line(device.Name))
	return err
}

// awaitDevice waits until a device answers a link.
func awaitDevice(ctx context.Context, c peer.Peer, sub *peer.Subscription, link peer.DeviceLink) (peer.DeviceAskEvent, error) {
	expired := time.NewTimer(time.Until(link.Expires))
	defer expired.Stop()
	for {
		select {
		case e, open := <-sub.C:
			if !open {
				<-c.Ended()
				if err := c.Err(); err != nil {
					return peer.DeviceAskEvent{}, err
				}
				return peer.DeviceAskEvent{}, peer.ErrClosed
			}
			if ask, ok := e.(peer.DeviceAskEvent); ok && ask.Code == link.Code {
				return ask, nil
			}
		case <-expired.C:
			return peer.DeviceAskEvent{}, &timeoutError{"no device answered the link in time: show a new one"}
		case <-ctx.Done():
			return peer.DeviceAskEvent{}, ctx.Err()
		}
	}
}
