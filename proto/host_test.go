package proto

import (
	"strings"
	"testing"
)

func TestServerHostRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"https://a..", "https://.", "https://0x7f000001", "https://2130706433", "https://a b", "https://" + strings.Repeat("a", MaxHost+1),
		"https://münchen.example", "https://a%2fb", "https://a/\x00", "//", "mailto:x",
	} {
		if host, err := ServerHost(url); !HasCode(err, malformed) {
			t.Errorf("%q has host %q, %v", url, host, err)
		}
	}
}
