package queue

// Poller is a queue that reads ahead for those who do not wait.
type Poller interface {
	// Poll gives at most max messages from an offset on, of those that are at hand, and never waits for more. From another
	// offset than the one behind the last message that it gave it may give nothing at first, and have them read.
	Poll(topic string, shard int, from int64, max int) ([]Message, error)

	// Notify has f called when there may be something new for Poll. f must not wait, nor call the queue. After stop it
	// is not called any more.
	Notify(topic string, shard int, f func()) (stop func())
}
