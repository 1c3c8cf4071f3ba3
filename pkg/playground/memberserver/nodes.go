package memberserver

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/yaml"
)

//go:embed stages.yaml
var stagesYAML []byte

// startNodes creates count nodes and the controller that plays their kubelets, which runs until ctx ends.
func startNodes(ctx context.Context, kubeconfig string, count int) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kubeconfig of nodes: %w", err)
	}
	config.QPS, config.Burst = 300, 600
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making client of nodes: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making client of nodes: %w", err)
	}
	stages, err := readStages(stagesYAML)
	if err != nil {
		return err
	}
	for i := range count {
		if err := createNode(ctx, client, fmt.Sprintf("node-%d", i+1)); err != nil {
			return err
		}
	}
	// No leases and no heartbeats: the node lifecycle controller that would miss them does not run, and an
	// idle member should be idle.
	controller, err := controllers.NewController(controllers.Config{
		Clock:                     clock.RealClock{},
		DynamicClient:             dyn,
		RESTClient:                client.Discovery().RESTClient(),
		TypedClient:               client,
		ManageAllNodes:            true,
		CIDR:                      "10.244.0.1/16",
		NodeIP:                    "10.0.0.1",
		LocalStages:               stages,
		PodPlayStageParallelism:   4,
		NodePlayStageParallelism:  1,
		PodsOnNodeSyncParallelism: 1,
		ID:                        userNodes,
	})
	if err != nil {
		return fmt.Errorf("making nodes: %w", err)
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("starting nodes: %w", err)
	}
	return nil
}

func createNode(ctx context.Context, client kubernetes.Interface, name string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   "linux",
			corev1.LabelArchStable: "amd64",
		},
	}}
	_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating node %s: %w", name, err)
	}
	return nil
}

// readStages reads the documents of a YAML stream of Stages, grouped by the kind they act on.
func readStages(data []byte) (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for i, document := range bytes.Split(data, []byte("\n---\n")) {
		var outside v1alpha1.Stage
		if err := yaml.UnmarshalStrict(document, &outside); err != nil {
			return nil, fmt.Errorf("reading stage %d: %w", i+1, err)
		}
		stage, err := internalversion.ConvertToInternalStage(&outside)
		if err != nil {
			return nil, fmt.Errorf("converting stage %s: %w", outside.Name, err)
		}
		stages[stage.Spec.ResourceRef] = append(stages[stage.Spec.ResourceRef], stage)
	}
	return stages, nil
}
