package main

import (
	"context"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The commands of the original's sample module.
type (
	Register struct {
		Name  string `json:"name" validate:"required"`
		Age   int    `json:"age" validate:"min=0,max=150"`
		Email string `json:"email,omitempty"`
	}
	UpdateEmail struct {
		ID    uuid.UUID `json:"uuid"`
		Email string    `json:"email" validate:"required"`
	}
	Disable struct {
		ID uuid.UUID `json:"uuid"`
	}
	PageView struct {
		ID         uuid.UUID `json:"uuid"`
		URL        string    `json:"url" validate:"required"`
		RenderTime int       `json:"render-time"`
	}
)

func (Register) CommandType() string    { return "user/register" }
func (UpdateEmail) CommandType() string { return "user/update-email" }
func (Disable) CommandType() string     { return "user/disable" }
func (PageView) CommandType() string    { return "user/pageview" }

// The events. There is no fold for RegisterFailed: it is recorded, and has no read view.
type (
	Registered struct {
		ID    uuid.UUID `json:"uuid"`
		Name  string    `json:"name"`
		Age   int       `json:"age"`
		Email string    `json:"email,omitempty"`
	}
	RegisterFailed struct {
		Name string `json:"name"`
	}
	EmailUpdated struct {
		ID    uuid.UUID `json:"uuid"`
		Email string    `json:"email"`
	}
	EmailUpdateFailed struct {
		ID uuid.UUID `json:"uuid"`
	}
	Disabled struct {
		ID uuid.UUID `json:"uuid"`
	}
	DisableFailed struct {
		ID uuid.UUID `json:"uuid"`
	}
	PageViewed struct {
		ID         uuid.UUID `json:"uuid"`
		URL        string    `json:"url"`
		RenderTime int       `json:"render-time"`
	}
)

func (Registered) EventType() string        { return "user/registered" }
func (RegisterFailed) EventType() string    { return "user/register-failed" }
func (EmailUpdated) EventType() string      { return "user/email-updated" }
func (EmailUpdateFailed) EventType() string { return "user/email-update-failed" }
func (Disabled) EventType() string          { return "user/disabled" }
func (DisableFailed) EventType() string     { return "user/disable-failed" }
func (PageViewed) EventType() string        { return "user/pageviewed" }

func (c Register) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if Names.Has(d, c.Name) || c.Email != "" && Emails.Has(d, c.Email) {
		return []cqrs.Event{RegisterFailed{Name: c.Name}}, nil
	}
	return []cqrs.Event{Registered{ID: d.NewID(), Name: c.Name, Age: c.Age, Email: c.Email}}, nil
}

func (c UpdateEmail) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	other, err := Emails.Get(d, c.Email)
	if taken := err == nil && other.ID != c.ID; taken || !Users.Has(d, c.ID) {
		return []cqrs.Event{EmailUpdateFailed{ID: c.ID}}, nil
	}
	return []cqrs.Event{EmailUpdated{ID: c.ID, Email: c.Email}}, nil
}

func (c Disable) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	user, err := Users.Get(d, c.ID)
	if err != nil || user.Status == "disabled" {
		return []cqrs.Event{DisableFailed{ID: c.ID}}, nil
	}
	return []cqrs.Event{Disabled{ID: c.ID}}, nil
}

func (c PageView) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{PageViewed{ID: c.ID, URL: c.URL, RenderTime: c.RenderTime}}, nil
}

// User is a row of the read side.
type User struct {
	ID        uuid.UUID
	Name      string
	Age       int
	Email     string
	Status    string
	ViewCount int
}

var (
	Users  = cqrs.NewTable("users", func(u User) uuid.UUID { return u.ID })
	Names  = cqrs.NewUniqueIndex(Users, "name", func(u User) []string { return []string{u.Name} })
	Emails = cqrs.NewUniqueIndex(Users, "email", func(u User) []string {
		if u.Email == "" { // it is optional
			return nil
		}
		return []string{u.Email}
	})
)

// UserView folds the events into the table. Its indexes come along by themselves.
type UserView struct{}

func (UserView) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case Registered:
		return Users.Put(tx, User{ID: e.ID, Name: e.Name, Age: e.Age, Email: e.Email, Status: "active"})
	case EmailUpdated:
		return change(tx, e.ID, func(u *User) { u.Email = e.Email })
	case Disabled:
		return change(tx, e.ID, func(u *User) { u.Status = "disabled" })
	case PageViewed:
		return change(tx, e.ID, func(u *User) { u.ViewCount++ })
	}
	return nil // other events are stored all the same
}

func change(tx *cqrs.Tx, id uuid.UUID, fn func(*User)) error {
	user, err := Users.Get(tx, id)
	if err != nil {
		return err
	}
	fn(&user)
	return Users.Put(tx, user)
}

func config() cqrs.Config {
	return cqrs.Config{
		Commands: []cqrs.Command{Register{}, UpdateEmail{}, Disable{}, PageView{}},
		Events: []cqrs.Event{Registered{}, RegisterFailed{}, EmailUpdated{}, EmailUpdateFailed{}, Disabled{},
			DisableFailed{}, PageViewed{}},
		Aggregator: UserView{},
		Tables:     []cqrs.AnyTable{Users},
	}
}
