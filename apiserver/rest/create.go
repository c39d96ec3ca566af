package rest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

const (
	// nameTries is how often a generated name that is taken is made anew.
	nameTries = 8
	// generatedBase and generatedTail make generated names no longer than a label.
	generatedTail = 5
	generatedBase = 63 - generatedTail
)

// Create stores a new object. It takes obj over: the caller does not touch it any more.
func (s *Service) Create(ctx context.Context, c *Call, obj registry.Object) (*Result, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	if err := setNamespace(c, obj); err != nil {
		return nil, err
	}
	if c.Kind.Storage == registry.Virtual {
		return s.ask(ctx, c, obj)
	}
	if obj.GetResourceVersion() != "" {
		return nil, errors.New("resourceVersion should not be set on objects to be created")
	}
	if c.Kind.Default != nil {
		c.Kind.Default(obj)
	}
	dropDoubleOwners(c, obj)
	obj, err := s.Fields.Create(c.Kind, obj, c.Manager)
	if err != nil {
		return nil, err
	}
	return s.createManaged(ctx, c, obj)
}

// ask answers the create of a virtual kind. Nothing is stored, so a dry run is no different.
func (s *Service) ask(ctx context.Context, c *Call, obj registry.Object) (*Result, error) {
	if c.Kind.Default != nil {
		c.Kind.Default(obj)
	}
	req := &admission.Request{
		Operation: admission.Create, Kind: c.Kind, Namespace: c.Namespace, Name: obj.GetName(),
		Object: obj, User: c.User, DryRun: true, Warn: c.Warn,
	}
	if err := s.Admission.Mutate(ctx, req); err != nil {
		return nil, err
	}
	if c.Kind.ValidateCreate != nil {
		if faults := c.Kind.ValidateCreate(req.Object); len(faults) > 0 {
			return nil, apierrors.NewInvalid(c.Kind.GVK.GroupKind(), req.Object.GetName(), faults)
		}
	}
	if err := s.Admission.Validate(ctx, req); err != nil {
		return nil, err
	}
	answer, err := c.Kind.Answer(ctx, registry.Asker{User: UserInfo(c.User), Judge: s.Judge}, req.Object)
	if err != nil {
		return nil, err
	}
	answer.GetObjectKind().SetGroupVersionKind(c.Kind.GVK)
	return &Result{Object: answer, Created: true}, nil
}

// UserInfo is a user as objects of the API name one.
func UserInfo(u authn.User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}

func generateName(base string) string {
	if len(base) > generatedBase {
		base = base[:generatedBase]
	}
	return base + rand.String(generatedTail)
}

// mayCreate is asked when a verb other than create is about to create.
func (s *Service) mayCreate(ctx context.Context, c *Call) error {
	if s.Authorize == nil {
		return nil
	}
	return s.Authorize(ctx, c, "create")
}

// createManaged stores a new object whose managedFields are in place. Whoever changes it, changes it once; a generated name that is
// taken costs only what follows the name.
func (s *Service) createManaged(ctx context.Context, c *Call, obj registry.Object) (*Result, error) {
	req := &admission.Request{
		Operation: admission.Create, Kind: c.Kind, Namespace: c.Namespace, Name: obj.GetName(),
		Object: obj, User: c.User, DryRun: c.DryRun, Warn: c.Warn,
	}
	if err := s.Admission.Mutate(ctx, req); err != nil {
		return nil, err
	}
	if req.Object.GetName() != "" || req.Object.GetGenerateName() == "" {
		return s.createAdmitted(ctx, c, req)
	}
	for try := 1; ; try++ {
		req.Name = generateName(req.Object.GetGenerateName())
		req.Object.SetName(req.Name)
		result, err := s.createAdmitted(ctx, c, req)
		if !apierrors.IsAlreadyExists(err) {
			return result, err
		}
		if try == nameTries {
			return nil, apierrors.NewGenerateNameConflict(s.row(c).gr, req.Name, 1)
		}
	}
}

// createAdmitted takes an object that the mutating stage has passed through the others into the store.
func (s *Service) createAdmitted(ctx context.Context, c *Call, req *admission.Request) (*Result, error) {
	s.birth(req.Object)
	if c.Kind.PrepareCreate != nil {
		c.Kind.PrepareCreate(req.Object)
	}
	if c.Kind.Requested != nil {
		c.Kind.Requested(req.Object, UserInfo(c.User))
	}
	result, err := s.admitCreate(ctx, c, req)
	req.Finish(err == nil && !c.DryRun)
	return result, err
}

func (s *Service) admitCreate(ctx context.Context, c *Call, req *admission.Request) (*Result, error) {
	if err := s.Admission.Allocate(ctx, req); err != nil {
		return nil, err
	}
	obj := req.Object
	if c.Kind.ValidateCreate != nil {
		if faults := c.Kind.ValidateCreate(obj); len(faults) > 0 {
			return nil, apierrors.NewInvalid(c.Kind.GVK.GroupKind(), obj.GetName(), faults)
		}
	}
	warn(c, obj, nil)
	if err := s.Admission.Validate(ctx, req); err != nil {
		return nil, err
	}
	return s.storeNew(ctx, c, obj)
}

func (s *Service) storeNew(ctx context.Context, c *Call, obj registry.Object) (*Result, error) {
	r := s.row(c)
	value, stored, err := r.encode(ctx, obj)
	if err != nil {
		return nil, err
	}
	key := r.key(c.Namespace, obj.GetName())
	if c.DryRun {
		switch _, _, err := s.Store.Get(ctx, key); {
		case err == nil:
			return nil, apierrors.NewAlreadyExists(r.gr, obj.GetName())
		case !errors.Is(err, errkind.NotFound):
			return nil, storeError(err)
		}
		return &Result{Object: obj, Created: true}, nil
	}
	revision, err := s.Store.Create(ctx, key, value)
	switch {
	case errors.Is(err, errkind.Exists):
		return nil, apierrors.NewAlreadyExists(r.gr, obj.GetName())
	case err != nil:
		return nil, storeError(err)
	}
	return s.written(r, key, revision, value, obj, stored, true), nil
}

// written makes the result of a write and hands the object to the cache, so that its event need not be decoded. obj and stored
// are the object in the row's and in the storage version; from here on they are shared.
func (s *Service) written(r *row, key string, revision int64, value []byte, obj, stored registry.Object, created bool) *Result {
	version := strconv.FormatInt(revision, 10)
	obj.SetResourceVersion(version)
	if stored != obj {
		stored.SetResourceVersion(version)
	}
	stored.GetObjectKind().SetGroupVersionKind(r.stored.GVK)
	result := &Result{Object: obj, Created: created}
	if r.kind == r.stored {
		result.stored = value
	}
	s.Cache.Own(key, revision, value, stored)
	return result
}

// birth fills in what the system alone says about a new object.
func (s *Service) birth(obj registry.Object) {
	obj.SetCreationTimestamp(metav1.Time{Time: s.Now().Truncate(1e9)})
	obj.SetUID(uuid.NewUUID())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

// setNamespace makes the object's namespace the request's, or refuses the two to differ. One that a cluster-wide object names is dropped, for
// clients send one.
func setNamespace(c *Call, obj metav1.Object) error {
	switch {
	case !c.Kind.Namespaced:
		obj.SetNamespace("")
	case obj.GetNamespace() == "":
		obj.SetNamespace(c.Namespace)
	case obj.GetNamespace() != c.Namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// checkName refuses an object that is not the one the path names.
func checkName(c *Call, obj metav1.Object) error {
	if err := setNamespace(c, obj); err != nil {
		return err
	}
	if obj.GetName() == "" {
		obj.SetName(c.Name)
	}
	if obj.GetName() != c.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), c.Name))
	}
	return nil
}

// warn tells the client of what is legal and probably not meant. Who binds a pod, or scales something, did not write its specification.
func warn(c *Call, obj, old registry.Object) {
	if c.Kind.Warnings == nil || c.Sub != nil && c.Sub.Into != nil {
		return
	}
	for _, text := range c.Kind.Warnings(obj, old) {
		c.Warn(text)
	}
}
