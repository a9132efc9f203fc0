package render

import (
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// batchFS is the source as one batch sees it. Several may be in use at once.
type batchFS struct {
	*sourceFS
	// replaced are the files that this batch has other content of, by name.
	replaced map[string][]byte
}

func (s *batchFS) ReadFile(p string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, where := s.locate(p); where == inSource {
		if data, ok := s.replaced[name]; ok {
			s.observe(name, data)
			return data, nil
		}
	}
	return s.sourceFS.ReadFile(p)
}

func (s *batchFS) Exists(p string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.Exists(p)
}

func (s *batchFS) IsDir(p string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.IsDir(p)
}

func (s *batchFS) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.CleanedAbs(p)
}

func (s *batchFS) ReadDir(p string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.ReadDir(p)
}

func (s *batchFS) Walk(p string, fn filepath.WalkFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.Walk(p, fn)
}

func (s *batchFS) Glob(pattern string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sourceFS.Glob(pattern)
}
