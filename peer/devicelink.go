package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// DeviceLink is what a device shows so that a new one is added to its account. Whoever has the link may ask; nothing is added
// before the older device's person agrees.
type DeviceLink struct {
	Code    string // of the DeviceAskEvent that answers it
	Secret  string // CODE.SECRET.ACCOUNT, for the command line
	URL     string // the same for a browser or a QR code
	Expires time.Time
}

// NewDevice is one that asked to be added by a device link.
type NewDevice struct {
	Name string // as it calls itself
	keys *pb.DeviceKeys
}

// OpenDeviceLink makes a device link, which works for ten minutes and for one device.
func (c *Client) OpenDeviceLink(ctx context.Context) (DeviceLink, error) {
	var opened pb.DeviceLink
	if err := c.call(ctx, http.MethodPost, "/api/v1/devices/links", nil, &opened); err != nil {
		return DeviceLink{}, err
	}
	if err := proto.CheckInvitationCode(opened.GetCode()); err != nil {
		return DeviceLink{}, fmt.Errorf("device link: %w", err)
	}
	secret := proto.NewDeviceLink(opened.GetCode(), c.Account())
	return DeviceLink{Code: secret.Code, Secret: secret.String(), URL: c.rest.base + secret.Path(), Expires: timeOf(opened.GetExpiresMs())}, nil
}

// Open opens what a new device said by this link. It fails for what somebody without the link made up.
func (l DeviceLink) Open(e DeviceAskEvent) (NewDevice, error) {
	secret, err := proto.ParseDeviceLink(l.Secret)
	if err != nil {
		return NewDevice{}, err
	}
	sealed := &pb.Sealed{}
	if err := proto.Unmarshal(e.Ask, sealed); err != nil {
		return NewDevice{}, err
	}
	ask, err := secret.Open(sealed)
	if err != nil {
		return NewDevice{}, fmt.Errorf("somebody without this device link answered it: %w", err)
	}
	name, err := proto.CleanNickname(ask.GetName())
	if err != nil {
		name = "a device without a name"
	}
	return NewDevice{Name: name, keys: ask.GetKeys()}, nil
}

// AddDevice adds a device that asked by a device link of this account: it gets every generation of the account key, and with them
// the whole history. ask is the DeviceAskEvent. password may be empty for a name-only account on the device that made it.
func (c *Client) AddDevice(ctx context.Context, link DeviceLink, ask DeviceAskEvent, password string) error {
	d, err := link.Open(ask)
	if err != nil {
		return err
	}
	a, err := c.unlock(ctx, password)
	if err != nil {
		return err
	}
	now := nowMS()
	next := proto.NextDeviceList(a.list, now)
	d.keys.AddedMs = now
	next.Devices = append(next.Devices, d.keys)
	req := &pb.UpdateDevices{NewDevice: d.keys.GetDevice(), DeviceName: d.Name, Link: link.Code}
	if req.DeviceList, err = proto.SignDeviceList(a.identity(), next); err != nil {
		return err
	}
	for _, k := range a.ring.GetKeys() {
		grant, err := proto.GrantGeneration(c.Account(), d.keys, k)
		if err != nil {
			return err
		}
		req.GenerationGrants = append(req.GenerationGrants, grant)
	}
	if err := c.call(ctx, http.MethodPut, "/api/v1/devices", req, nil); err != nil {
		return err
	}
	return c.refresh(ctx)
}

func (c *Client) applyDeviceAsk(asks *pb.DeviceAsks) error {
	ask, err := gproto.Marshal(asks.GetAsk())
	if err != nil {
		return fmt.Errorf("new device: %w", err)
	}
	c.events.emit(DeviceAskEvent{Code: asks.GetCode(), Ask: ask})
	return nil
}

// A new device asks again and again whether it was let in: the server has no way to tell it.
const (
	linkPoll    = 300 * time.Millisecond // at first
	linkPollMax = 3 * time.Second
)

// ServerOfLink is the server of a device link or an invitation link, empty for the form without one.
func ServerOfLink(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// LoginByLink adds this device by a device link that another one shows: it asks, and waits until that one's person agreed, the
// link expired or ctx ended. c.Server may be empty if the link names it. The keys come with the first connection.
func LoginByLink(ctx context.Context, opts Options, c Credentials, link string) (*Profile, error) {
	if err := emptyProfile(opts.Dir); err != nil {
		return nil, err
	}
	secret, err := proto.ParseDeviceLink(link)
	if err != nil {
		return nil, err
	}
	server := c.Server
	if at := ServerOfLink(link); at != "" {
		if server != "" && strings.TrimRight(server, "/") != at {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "this device link is of another server, %s: leave out --server, or show a link of %s", at, server)
		}
		server = at
	}
	r, err := newRest(server, opts.httpClient(), "")
	if err != nil {
		return nil, err
	}
	p, err := newProfile(opts.Dir, r.base)
	if err != nil {
		return nil, err
	}
	p.keys.Account = secret.Account
	keys, err := p.deviceKeys(nowMS())
	if err != nil {
		return nil, err
	}
	sealed, err := secret.Seal(&pb.DeviceAsk{Keys: keys, Name: opts.deviceName()})
	if err != nil {
		return nil, err
	}
	if err := p.save(); err != nil {
		return nil, err
	}
	err = r.call(ctx, http.MethodPut, "/api/v1/devices/links/"+secret.Code, &pb.DeviceLinkAsk{Ask: sealed}, nil)
	if err == nil {
		p.keys.Token, err = awaitAdmission(ctx, r, p)
	}
	if err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, p.save()
}

// ErrNotAdmitted says that nobody agreed to add this device while its link worked.
var ErrNotAdmitted = errors.New("the other device did not add this one in time: show a new device link there")

const admission = 10 * time.Minute // how long a device link works

// awaitAdmission logs in by the device's key as soon as that works.
func awaitAdmission(ctx context.Context, r *rest, p *Profile) (token string, err error) {
	patience := time.NewTimer(admission)
	defer patience.Stop()
	for wait := linkPoll; ; wait = min(wait*3/2, linkPollMax) {
		token, err = renewSession(ctx, r, p)
		refused, answered := proto.AsError(err)
		if err == nil || answered && refused.Code != pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED && !refused.Retryable() {
			return token, err
		}
		tick := time.NewTimer(wait)
		select {
		case <-tick.C:
		case <-patience.C:
			tick.Stop()
			return "", ErrNotAdmitted
		case <-ctx.Done():
			tick.Stop()
			return "", ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}
