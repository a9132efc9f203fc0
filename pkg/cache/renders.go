package cache

import (
	"encoding/hex"
	"encoding/json"
)

// rendersDir holds a file for each rendering.
const rendersDir = "renders"

// mostRenders bounds that directory, in bytes.
const mostRenders = 64 << 20

// Recall fills v with what Keep has kept under s; false for nothing.
func (d *Dir) Recall(s Sum, v any) bool {
	data := d.read(rendersDir + "/" + s.String())
	return data != nil && json.Unmarshal(data, v) == nil
}

// Keep keeps v, as JSON, under s.
func (d *Dir) Keep(s Sum, v any) {
	data, err := json.Marshal(v)
	if d == nil || err != nil {
		return
	}
	d.write(rendersDir+"/"+s.String(), data)
}

// Trim keeps the directory within its bounds.
func (d *Dir) Trim() {
	if d != nil {
		d.trim(rendersDir, mostRenders)
	}
}

// MarshalText is s in hexadecimal.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return hex.ErrLength
	}
	_, err := hex.Decode(s[:], text)
	return err
}
