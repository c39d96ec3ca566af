package rest

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// storeError turns the kinds of the store and the cache into the errors that clients know. Nil stays nil.
func storeError(err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil || errors.As(err, &status):
		return err
	case errors.Is(err, errkind.Expired):
		return apierrors.NewResourceExpired(err.Error())
	case errors.Is(err, errkind.Unavailable):
		return apierrors.NewServiceUnavailable(err.Error())
	case errors.Is(err, errkind.Invalid): // the one thing that a store refuses for what it is: an object that is too large for it
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, errkind.Exhausted):
		return apierrors.NewInternalError(err)
	}
	return err
}

// StatusOf is the one place where errors become answers.
func StatusOf(err error) metav1.Status {
	var known apierrors.APIStatus
	var status metav1.Status
	switch {
	case errors.As(err, &known):
		status = known.Status()
	case errors.Is(err, context.DeadlineExceeded):
		status = apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).Status()
	case errors.Is(err, errkind.Conflict):
		status = metav1.Status{Reason: metav1.StatusReasonConflict, Code: http.StatusConflict, Message: err.Error()}
	case errors.Is(err, errkind.Denied):
		status = metav1.Status{Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: err.Error()}
	case errors.Is(err, errkind.Invalid):
		status = apierrors.NewBadRequest(err.Error()).Status()
	case errors.Is(err, errkind.Unavailable):
		status = apierrors.NewServiceUnavailable(err.Error()).Status()
	default:
		status = metav1.Status{Code: http.StatusInternalServerError, Message: err.Error()}
	}
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	codec.SetKind(&status, codec.StatusKind)
	return status
}

// StatusError makes an API status error of any error, as a client over HTTP would see it. Nil stays nil.
func StatusError(err error) error {
	var known apierrors.APIStatus
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: StatusOf(err)}
}

// EncodeError is the JSON body of the Status of err.
func EncodeError(err error) ([]byte, error) {
	status := StatusOf(err)
	return codec.Encode(&status, codec.JSON)
}
