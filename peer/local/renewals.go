package local

import (
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Renewal is another identity of an account than the one that was pinned first.
type Renewal struct {
	Account     proto.ID
	IdentityKey []byte
	List        *pb.Signed // the newest seen that this identity signed
	Accepted    bool       // this account took it
}

// RenewalOf returns what is known of another identity of an account, or ErrNotFound.
func (t *Tx) RenewalOf(account proto.ID, identity []byte) (*Renewal, error) {
	r := Renewal{Account: account, IdentityKey: identity, List: &pb.Signed{}}
	err := t.row("SELECT list_body, list_sig, accepted FROM renewals WHERE account = ? AND identity_key = ?", account[:], identity).
		Scan(&r.List.Body, &r.List.Signature, &r.Accepted)
	if err != nil {
		return nil, found("read renewal", err)
	}
	return &r, nil
}

// SaveRenewal writes all of r. Others of the account that were not accepted go: one at a time waits for a decision.
func (t *Tx) SaveRenewal(r *Renewal) error {
	if err := t.DropRenewals(r.Account); err != nil {
		return err
	}
	return t.exec("save renewal", "INSERT OR REPLACE INTO renewals (account, identity_key, list_body, list_sig, accepted) VALUES (?, ?, ?, ?, ?)",
		r.Account[:], r.IdentityKey, r.List.GetBody(), r.List.GetSignature(), r.Accepted)
}

// DropRenewals forgets the identities of an account that were not accepted.
func (t *Tx) DropRenewals(account proto.ID) error {
	return t.exec("drop renewals", "DELETE FROM renewals WHERE account = ? AND NOT accepted", account[:])
}

// HasIdentity says whether a list of an account that was taken as its own, now or formerly, was signed by an identity key.
func (t *Tx) HasIdentity(account proto.ID, identity []byte) (has bool, err error) {
	err = t.row("SELECT EXISTS (SELECT 1 FROM device_keys WHERE account = ? AND identity_key = ?)", account[:], identity).Scan(&has)
	return has, found("read identity", err)
}
