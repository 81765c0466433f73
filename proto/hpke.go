package proto

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// SealTo seals with HPKE base mode (RFC 9180, suite 1) to an X25519 public key.
func SealTo(publicKey, info, plaintext []byte) (enc, ciphertext []byte, err error) {
	key, err := ecdh.X25519().NewPublicKey(publicKey)
	if err != nil {
		return nil, nil, Errorf(malformed, "a public key is not X25519")
	}
	public, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("hpke key: %w", err)
	}
	enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil { // a point of small order (RFC 9180 §7.1.4)
		return nil, nil, Errorf(malformed, "a public key is not usable")
	}
	ciphertext, err = sender.Seal(nil, plaintext)
	if err != nil {
		return nil, nil, fmt.Errorf("hpke: %w", err)
	}
	return enc, ciphertext, nil
}

// OpenFrom opens what SealTo made for the owner of the private key. It fails with code malformed when
// key, info or a byte differs.
func OpenFrom(privateKey, enc, info, ciphertext []byte) ([]byte, error) {
	if err := check32("an encapsulated key", enc); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(privateKey)
	if err != nil {
		return nil, Errorf(malformed, "a private key is not X25519")
	}
	private, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("hpke key: %w", err)
	}
	recipient, err := hpke.NewRecipient(enc, private, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, Errorf(malformed, "the sealed key does not open")
	}
	plaintext, err := recipient.Open(nil, ciphertext)
	if err != nil {
		return nil, Errorf(malformed, "the sealed key does not open")
	}
	return plaintext, nil
}
