package registry

import "context"

// How many questions a host is asked at once: few at first, and more for as long
// as it answers. Most is what go-containerregistry's transport keeps connections
// for.
const (
	startAtOnce = 16
	mostAtOnce  = 48
	allAtOnce   = 2 * mostAtOnce // at all hosts together
)

// turn is a host's: what is in free may be asked now.
type turn struct {
	free  chan struct{}
	total int // free and under way
}

// bounds are how many questions a host is asked at first and at most.
func (c *Client) bounds() (start, most int) {
	if c.Concurrency > 0 {
		return c.Concurrency, c.Concurrency
	}
	return startAtOnce, mostAtOnce
}

// enter waits until host may be asked one more question; leave ends it, and says
// whether the host answered.
func (c *Client) enter(ctx context.Context, host string) (leave func(answered bool), err error) {
	c.init()
	c.mu.Lock()
	t := c.turns[host]
	if t == nil {
		start, most := c.bounds()
		t = &turn{free: make(chan struct{}, most), total: start}
		for range start {
			t.free <- struct{}{}
		}
		c.turns[host] = t
	}
	c.mu.Unlock()
	// The host's own first: who waits for a slow host keeps no one from the others.
	select {
	case <-t.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case c.all <- struct{}{}:
	case <-ctx.Done():
		t.free <- struct{}{}
		return nil, ctx.Err()
	}
	return func(answered bool) { <-c.all; c.leave(t, host, answered) }, nil
}

// leave gives a turn back. A host that answers is asked more at once, one that
// has ever been busy as little as at first.
func (c *Client) leave(t *turn, host string, answered bool) {
	start, most := c.bounds()
	c.mu.Lock()
	next := 1
	switch busy := c.limits.wasBusy(host); {
	case busy && t.total > start:
		t.total--
		next = 0
	case !busy && answered && t.total < most:
		t.total++
		next = 2
	}
	c.mu.Unlock()
	for range next {
		t.free <- struct{}{}
	}
}
