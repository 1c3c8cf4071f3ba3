package tunnels

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// publishAgain is how often a server looks whether what it tells is still there.
const publishAgain = 30 * time.Second

// places are where a server is told to be, HOST:PORT by ConfigMap.
type places map[string]string

// ensurePlaces makes the ConfigMaps in which servers on their own tell where they are: those may not make any.
func ensurePlaces(ctx context.Context, config *rest.Config) error {
	return publish(ctx, config, "", places{wellknown.TunnelServersConfigMap: "", wellknown.TunnelPeersConfigMap: ""})
}

// publish tells where this server's tunnels are, until ctx ends. What others tell is left alone; whoever takes a server
// away for good removes what it told.
func publish(ctx context.Context, config *rest.Config, name string, where places) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	told := ""
	published := map[string]bool{}
	for {
		var err error
		for inMap, address := range where {
			other, publishErr := publishOnce(ctx, client, inMap, name, address)
			err = errors.Join(err, publishErr)
			if published[inMap] && other != "" {
				klog.FromContext(ctx).Info("Another server has told of itself under this server's name, which only one may have", "name", name, "configMap", inMap, "its", other, "ours", address)
			}
			published[inMap] = published[inMap] || publishErr == nil
		}
		if err != nil && ctx.Err() == nil && err.Error() != told { // tried again; joining needs it, and nothing else
			told = err.Error()
			klog.FromContext(ctx).Info("Telling where tunnels are served did not succeed, and is tried again", "reason", told)
		}
		pause := publishAgain
		if err != nil {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// publishOnce tells where a server is, and returns where it was said to be when that was elsewhere.
func publishOnce(ctx context.Context, client kubernetes.Interface, inMap, name, address string) (other string, err error) {
	maps := client.CoreV1().ConfigMaps(wellknown.FederationNamespace)
	have, err := maps.Get(ctx, inMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: inMap},
			Data:       dataOf(name, address),
		}, metav1.CreateOptions{})
		return "", err
	}
	if err != nil || name == "" || have.Data[name] == address {
		return "", err
	}
	if have.Data == nil {
		have.Data = map[string]string{}
	}
	other = have.Data[name]
	have.Data[name] = address
	_, err = maps.Update(ctx, have, metav1.UpdateOptions{})
	return other, err
}

func dataOf(name, address string) map[string]string {
	if name == "" {
		return nil
	}
	return map[string]string{name: address}
}
