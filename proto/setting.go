package proto

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SettingLinks is the key of the setting that holds a LinkSetting.
const SettingLinks = "links"

// SettingFormer is the key of the setting that holds a FormerSetting.
const SettingFormer = "former"

const settingPerson = "person/"

// PersonSettingKey is the key of the setting that holds what an account notes of another person.
func PersonSettingKey(person ID) string { return settingPerson + person.String() }

// PersonOfSetting is whom a setting is about; ok is false for settings about nobody.
func PersonOfSetting(key string) (person ID, ok bool) {
	if len(key) <= len(settingPerson) || key[:len(settingPerson)] != settingPerson {
		return ID{}, false
	}
	person, err := ParseID(key[len(settingPerson):])
	return person, err == nil
}

// SealSetting makes the value of a setting for the account's other devices, which have the private account key of that
// generation, as the newest one that should be used (docs/PROTOCOL.md §3).
func SealSetting(accountKey *pb.AccountKey, account ID, key string, value proto.Message) ([]byte, error) {
	if err := check32("an account key", accountKey.GetPrivateKey()); err != nil {
		return nil, err
	}
	b, err := proto.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("setting: %w", err)
	}
	s, err := SealBytes(Derive(accountKey.GetPrivateKey(), LabelSetting), b, LabelSetting, account[:], []byte(key))
	if err != nil {
		return nil, err
	}
	return marshal("setting", &pb.SealedSetting{Generation: accountKey.GetGeneration(), Sealed: s})
}

// OpenSetting opens what SealSetting made. find gives the private account key of a generation, nil when the device does not
// have it: then OpenSetting fails with not_found, and the setting opens when the key has come.
func OpenSetting(find func(generation uint32) []byte, account ID, key string, sealed []byte, value proto.Message) error {
	s := &pb.SealedSetting{}
	if err := Unmarshal(sealed, s); err != nil {
		return err
	}
	private := find(s.GetGeneration())
	if private == nil {
		return Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "the setting is sealed under an account key that this device does not have")
	}
	b, err := OpenBytes(Derive(private, LabelSetting), s.GetSealed(), LabelSetting, account[:], []byte(key))
	if err != nil {
		return err
	}
	return Unmarshal(b, value)
}
