package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"go.yaml.in/yaml/v3"
)

// maxSealedSize is the size, in bytes, above which Flux refuses to decrypt a
// file (maxEncryptedFileSize of its decryptor).
const maxSealedSize = 5 << 20

// segment is a stretch of a file that SOPS seals as one, or, in a YAML file of
// several documents, one that is not sealed.
type segment struct {
	raw    []byte
	sealed bool
	store  sops.Store // nil where not sealed
	// docs are the documents of a YAML file that is one segment, as parse reads raw.
	docs []*yaml.Node
}

// metadataMark matches where the metadata of a sealed file begins, in each format,
// so that prose about SOPS is not taken for it.
var metadataMark = map[formats.Format]*regexp.Regexp{
	formats.Yaml:   regexp.MustCompile(`(?m)^sops:|"sops":\s*\{`), // JSON is YAML
	formats.Json:   regexp.MustCompile(`"sops":\s*\{`),
	formats.Binary: regexp.MustCompile(`"sops":\s*\{`),
	formats.Dotenv: regexp.MustCompile(`(?m)^sops_(mac|lastmodified)=`),
	formats.Ini:    regexp.MustCompile(`(?m)^\[sops\]`),
}

// jsonMAC matches the MAC of an envelope, which is there even when a merge
// conflict or a lost first line hides that the rest is JSON.
var jsonMAC = regexp.MustCompile(`(?m)^\s*"mac": "ENC\[AES256_GCM,data:.*,type:str\]",?\s*$`)

// valueMark matches a sealed value where a value stands, in any format: behind a
// colon, a dash or an equals sign, up to the end of the line or a quotation mark.
var valueMark = regexp.MustCompile(`(?m)[:=-]\s*["']?ENC\[AES256_GCM,data:[^,\n]*,iv:[^,\n]+,tag:[^,\n]+,type:[a-z]+\](["']|\s*(#.*)?$)`)

// sealedValue is a value as SOPS writes it, and nothing else beside it.
var sealedValue = regexp.MustCompile(`^ENC\[AES256_GCM,data:.*,iv:.+,tag:.+,type:.+\]$`)

// marked is the cheap test: false means that data cannot be sealed.
func marked(data []byte) bool {
	return bytes.Contains(data, []byte("ENC[AES256_GCM,")) ||
		bytes.Contains(data, []byte("sops")) && bytes.Contains(data, []byte("lastmodified"))
}

// detect splits a file into segments, at least one of them sealed. It returns
// none for a file that is not sealed, and an error for one that means to be but
// is not whole; the errors quote keys and line numbers, never a value.
func detect(name string, data []byte) ([]segment, error) {
	return detectParsed(name, data, &documentsOf{data: data})
}

// documentsOf parses a file once, when somebody asks.
type documentsOf struct {
	data []byte
	done bool
	docs []*yaml.Node
	err  error
}

func (d *documentsOf) parse() ([]*yaml.Node, error) {
	if !d.done {
		d.done = true
		d.docs, d.err = parse(d.data)
	}
	return d.docs, d.err
}

func detectParsed(name string, data []byte, docs *documentsOf) ([]segment, error) {
	if !marked(data) {
		return nil, nil
	}
	format, sure := formatOf(name, data)
	if len(data) > maxSealedSize {
		if !metadataMark[format].Match(data) {
			return nil, nil
		}
		return nil, &fault{TooLarge, fmt.Sprintf("is %d bytes, above the limit of %d that Flux has for a sealed file", len(data), maxSealedSize)}
	}
	// What does not parse is an error only where it is sure to be meant so.
	damaged := sure && (metadataMark[format].Match(data) || valueMark.Match(data))
	switch format {
	case formats.Yaml:
		return detectYAML(data, damaged, docs)
	case formats.Json, formats.Binary:
		return detectJSON(format, data, damaged)
	}
	if !metadataMark[format].Match(data) {
		return nil, orphans(len(valueMark.FindAll(data, -1)))
	}
	return []segment{{raw: data, sealed: true, store: storeOf(format)}}, nil
}

// formatOf tells the format by the extension, as sops does. Where the extension
// says nothing, sops takes the file for binary, sealed in a JSON envelope; Flux
// takes it by its marks (detectFormatFromMarkerBytes), and so it is done here, so
// that "tls.yaml.enc" and "app.env.sealed" open. sure is false where a README
// that shows a sealed file could be taken for one.
func formatOf(name string, data []byte) (format formats.Format, sure bool) {
	format = formats.FormatForPath(path.Base(name))
	if format != formats.Binary || bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || jsonMAC.Match(data) {
		return format, true
	}
	for _, format := range []formats.Format{formats.Dotenv, formats.Ini, formats.Yaml} {
		if metadataMark[format].Match(data) {
			return format, false
		}
	}
	return formats.Binary, false
}

func storeOf(format formats.Format) sops.Store {
	return common.StoreForFormat(format, config.NewStoresConfig())
}

// detectJSON tells whether a JSON file, or the JSON envelope of a binary one, is
// sealed. It must be one whole JSON value: sops itself reads on past the end of a
// cut one.
func detectJSON(format formats.Format, data []byte, damaged bool) ([]segment, error) {
	if !json.Valid(data) {
		if !damaged {
			return nil, nil
		}
		return nil, &fault{BadMetadata, "is not valid JSON: cut off, or left in a merge conflict"}
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, &fault{BadMetadata, "is not valid JSON"}
	}
	root, _ := doc.(map[string]any)
	meta, _ := root["sops"].(map[string]any)
	if !isMetadata(func(key string) bool { _, ok := meta[key]; return ok }) {
		return nil, orphans(countSealed(doc))
	}
	// Sealed with `--input-type json` under a name that does not say so, as people
	// do with .dockerconfigjson, or truly binary: then "data" is all there is.
	if _, ok := root["data"].(string); format == formats.Binary && !(ok && len(root) == 2) {
		format = formats.Json
	}
	return []segment{{raw: data, sealed: true, store: storeOf(format)}}, nil
}

// orphans is the error for n sealed values in something without metadata.
func orphans(n int) error {
	if n == 0 {
		return nil
	}
	return &fault{BadMetadata, fmt.Sprintf("holds %d sealed value(s) but no sops metadata to open them with: cut off, or the metadata was removed", n)}
}

// isMetadata tells metadata of SOPS from some other thing that is called "sops",
// as the values of a chart may have: Flux asks for mac, of which a file that lost
// it keeps lastmodified.
func isMetadata(has func(key string) bool) bool { return has("mac") || has("lastmodified") }

func countSealed(v any) (n int) {
	switch v := v.(type) {
	case string:
		if sealedValue.MatchString(v) {
			n++
		}
	case map[string]any:
		for _, e := range v {
			n += countSealed(e)
		}
	case []any:
		for _, e := range v {
			n += countSealed(e)
		}
	}
	return n
}
