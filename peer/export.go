package peer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
)

// Conversation is one that this device has, whether or not it goes on.
type Conversation struct {
	ID   proto.ID
	With Contact // the other one of a pair; zero for a group
}

// Conversations returns all that this device has.
func (c *Client) Conversations(ctx context.Context) (all []Conversation, err error) {
	err = c.update(ctx, func(w *work) error {
		rows, err := w.Conversations()
		if err != nil {
			return err
		}
		for _, row := range rows {
			shown := Conversation{ID: row.ID}
			p, err := w.otherOf(row)
			if err == nil && p != nil {
				shown.With, err = w.contact(p)
			}
			if err != nil {
				return err
			}
			all = append(all, shown)
		}
		return nil
	})
	return all, err
}

// otherOf is the other person of a pair, nil if this device knows none.
func (w *work) otherOf(row *local.Conversation) (*local.Person, error) {
	if p, err := w.pairWith(row.ID); p != nil || err != nil {
		return p, err
	}
	r, err := w.enter(row)
	if err != nil {
		return nil, err
	}
	for _, account := range r.members() {
		if account != w.c.Account() && proto.PairID(w.c.Account(), account) == row.ID {
			return w.person(account)
		}
	}
	return nil, nil //nolint:nilnil // as the comment says
}

// exportPage is how many messages are read at a time.
const exportPage = 500

// ErrNotEmpty says that an export would be mixed with what is there.
var ErrNotEmpty = errors.New("the folder is not empty: name a new one, nothing is overwritten")

// Export writes what the account has, but no keys, into a folder, which must be new or empty: profile.json, settings.json,
// devices.json, contacts.json, for each conversation a file with every message, oldest first, and the pictures. Files are for
// this user alone (mode 0600). When it fails, what was written so far stays.
func Export(ctx context.Context, p Peer, dir string) error {
	if err := newFolder(dir); err != nil {
		return err
	}
	e := &exporter{p: p, dir: dir}
	self, err := p.Self(ctx)
	if err != nil {
		return err
	}
	contacts, err := p.Contacts(ctx)
	if err != nil {
		return err
	}
	devices, err := p.Devices(ctx)
	if err != nil {
		return err
	}
	conversations, err := p.Conversations(ctx)
	if err != nil {
		return err
	}
	people := slices.Clone(contacts)
	for _, c := range conversations { // with whom it ended too
		if !c.With.Account.IsZero() && !slices.ContainsFunc(people, func(known Contact) bool { return known.Account == c.With.Account }) {
			people = append(people, c.With)
		}
	}
	if err := e.account(ctx, self, devices); err != nil {
		return err
	}
	if err := e.people(ctx, people); err != nil {
		return err
	}
	for _, c := range conversations {
		if err := e.conversation(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// newFolder makes a folder, or takes an empty one.
func newFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	return nil
}

type exporter struct {
	p   Peer
	dir string
}

// The objects of the files. Their fields are what somebody else's program can rely on.
type (
	exportedProfile struct {
		Format   string    `json:"format"`
		Exported time.Time `json:"exported"`
		Server   string    `json:"server"`
		ID       string    `json:"id"`
		User     string    `json:"user"`
		Nickname string    `json:"nickname"`
		Avatar   string    `json:"avatar,omitempty"` // file
	}
	exportedSettings struct {
		HidePresence bool `json:"hide_presence"`
		HideRead     bool `json:"hide_read"`
		HideTyping   bool `json:"hide_typing"`
		HideAddress  bool `json:"hide_address"`
	}
	exportedDevice struct {
		ID       string     `json:"id"`
		Name     string     `json:"name"`
		Added    time.Time  `json:"added"`
		LastUsed *time.Time `json:"last_used,omitempty"`
	}
	exportedContact struct {
		ID           string     `json:"id"`
		User         string     `json:"user"`
		Nickname     string     `json:"nickname"`
		LocalName    string     `json:"local_nickname,omitempty"`
		State        string     `json:"state"`
		Note         string     `json:"note,omitempty"`
		Since        time.Time  `json:"since"`
		Blocked      bool       `json:"blocked,omitempty"`
		HideAddress  bool       `json:"hide_address,omitempty"`
		Safety       string     `json:"safety"`
		Compared     *time.Time `json:"compared,omitempty"`
		Conversation string     `json:"conversation,omitempty"` // file
		Avatar       string     `json:"avatar,omitempty"`       // file
	}
	exportedConversation struct {
		ID       string      `json:"id"`
		With     string      `json:"with"`
		Messages []WireEvent `json:"messages"`
	}
)

func (e *exporter) account(ctx context.Context, self Self, devices []Device) error {
	avatar, err := e.avatar(ctx, self.Account, self.Avatar)
	if err != nil {
		return err
	}
	listed := make([]exportedDevice, len(devices))
	for i, d := range devices {
		listed[i] = exportedDevice{ID: d.ID.String(), Name: d.Name, Added: d.Added, LastUsed: timeOrNil(d.LastUsed)}
	}
	return errors.Join(
		e.write("profile.json", exportedProfile{
			Format: "parley export 1", Exported: time.Now().UTC().Truncate(time.Second), Server: self.Server, ID: self.Account.String(),
			User: self.UserName, Nickname: self.Nickname, Avatar: avatar,
		}),
		e.write("settings.json", exportedSettings(self.Privacy)),
		e.write("devices.json", listed),
	)
}

func conversationFile(id proto.ID) string { return filepath.Join("conversations", id.String()+".json") }

func (e *exporter) people(ctx context.Context, people []Contact) error {
	listed := make([]exportedContact, 0, len(people))
	for _, c := range people {
		out := exportedContact{
			ID: c.Account.String(), User: c.UserName, Nickname: c.Nickname, LocalName: c.LocalName, State: c.State, Note: c.Note, Since: c.Since,
			Blocked: c.Blocked, HideAddress: c.HideAddress, Safety: c.Safety.State, Compared: timeOrNil(c.Safety.Compared),
		}
		if !c.Conversation.IsZero() {
			out.Conversation = conversationFile(c.Conversation)
		}
		var err error
		if out.Avatar, err = e.avatar(ctx, c.Account, c.Avatar); err != nil {
			return err
		}
		listed = append(listed, out)
	}
	return e.write("contacts.json", listed)
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// avatar writes somebody's picture and returns the file's name, empty if they show none.
func (e *exporter) avatar(ctx context.Context, account proto.ID, hash []byte) (name string, err error) {
	if len(hash) == 0 {
		return "", nil
	}
	image, err := Avatar(ctx, e.p, account, hash)
	if _, refused := proto.AsError(err); refused {
		return "", nil // changed since, or not shown any more
	}
	if err != nil {
		return "", err
	}
	ending := map[string]string{"image/png": ".png", "image/webp": ".webp"}[http.DetectContentType(image)]
	name = filepath.Join("avatars", account.String()+cmp.Or(ending, ".jpg"))
	return name, e.create(name, image)
}

func (e *exporter) conversation(ctx context.Context, c Conversation) error {
	var pages [][]Message
	opts := HistoryOptions{Limit: exportPage}
	for {
		page, err := e.p.History(ctx, c.ID, opts)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		pages = append(pages, page)
		opts.Before = &page[0]
	}
	out := exportedConversation{ID: c.ID.String(), With: c.With.Name(), Messages: []WireEvent{}}
	slices.Reverse(pages)
	for _, page := range pages {
		for _, m := range page {
			out.Messages = append(out.Messages, m.Wire("message"))
		}
	}
	return e.write(conversationFile(c.ID), out)
}

func (e *exporter) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	return e.create(name, append(b, '\n'))
}

// create writes a file that must not be there.
func (e *exporter) create(name string, b []byte) error {
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // below the folder that the caller named
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrNotEmpty)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = file.Write(b)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	return nil
}
