package image

import "strings"

// Written is what the markers of one policy have now, over all files.
type Written struct {
	// Images are the different references at markers of whole images, in the
	// order in which they were found.
	Images []Image
	// Tags and Digests are the different values at markers that end in :tag and
	// :digest.
	Tags, Digests []string
}

// Current collects what the markers have now, by policy.
func Current(markers []Marker) map[Ref]Written {
	out := map[Ref]Written{}
	for _, m := range markers {
		ref := Ref{Namespace: m.Namespace, Name: m.Policy}
		w := out[ref]
		switch {
		case m.Value == "" || m.Nonsense() != "":
		case m.Part == "":
			w.Images = appendNew(w.Images, splitImage(m.Value))
		case m.Part == "tag":
			w.Tags = appendNew(w.Tags, m.Value)
		case m.Part == "digest":
			w.Digests = appendNew(w.Digests, m.Value)
		}
		out[ref] = w
	}
	return out
}

func appendNew[T comparable](all []T, v T) []T {
	for _, have := range all {
		if have == v {
			return all
		}
	}
	return append(all, v)
}

// splitImage takes NAME[:TAG][@DIGEST] apart, whatever its parts are.
func splitImage(s string) Image {
	var i Image
	s, i.Digest, _ = strings.Cut(s, "@")
	if colon := strings.LastIndex(s, ":"); colon > strings.LastIndex(s, "/") {
		s, i.Tag = s[:colon], s[colon+1:]
	}
	i.Name = s
	return i
}

// DigestOf is the digest that stands beside the tag of an image everywhere where
// the tag stands, "" where there is none or not always the same.
func (w Written) DigestOf(name, tag string) string {
	digest := ""
	for _, i := range w.Images {
		if i.Tag != tag || i.Name != name {
			continue
		}
		if i.Digest == "" || digest != "" && digest != i.Digest {
			return ""
		}
		digest = i.Digest
	}
	if len(w.Digests) == 0 {
		return digest
	}
	// Beside :digest there is :tag, and both are of one choice.
	if len(w.Digests) != 1 || len(w.Tags) > 1 || len(w.Tags) == 1 && w.Tags[0] != tag || digest != "" && digest != w.Digests[0] {
		return ""
	}
	if digest == "" && len(w.Tags) == 0 {
		return ""
	}
	return w.Digests[0]
}

// String is what stands there, for people: the first image, else the tag.
func (w Written) String() string {
	switch {
	case len(w.Images) > 0:
		i := w.Images[0]
		if i.Tag == "" {
			return i.Name
		}
		return i.String()
	case len(w.Tags) > 0:
		return w.Tags[0]
	}
	return ""
}
