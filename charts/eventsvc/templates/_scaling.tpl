{{/*
The replicas of a role: (list $ "producer" "whether it scales by itself" "its least number").
What scales by itself keeps those it has: without the field Kubernetes would set
one.  A producer has one at least: an autoscaler leaves alone what was scaled to 0.
`helm template` sees no cluster, and leaves the field out.
*/}}
{{- define "eventsvc.replicas" -}}
{{- $root := index . 0 -}}
{{- if not (index . 2) -}}
replicas: {{ (index $root.Values (index . 1)).replicas }}
{{- else -}}
{{- $least := index . 3 -}}
{{- $name := include "eventsvc.name" (list $root (printf "event-%s" (index . 1))) -}}
{{- with lookup "apps/v1" "Deployment" $root.Release.Namespace $name -}}
replicas: {{ max (int .spec.replicas) $least }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What is not empty if there is never more than one consumer, which keeps the order of events. */}}
{{- define "eventsvc.isOrdered" -}}
{{- $consumer := .Values.consumer -}}
{{- if le (int (ternary $consumer.keda.maxReplicas $consumer.replicas $consumer.keda.enabled)) 1 }}ordered{{ end -}}
{{- end }}

{{/* How the pods of a role are replaced: (list $ "producer"). */}}
{{- define "eventsvc.strategy" -}}
{{- $root := index . 0 -}}
{{- $given := (index $root.Values (index . 1)).strategy -}}
{{- if $given -}}
{{ toYaml $given }}
{{- else if and (eq (index . 1) "consumer") (include "eventsvc.isOrdered" $root) -}}
# The old pod ends before the new one starts: two at once would mix up the order of events.
type: Recreate
{{- else -}}
# A new pod is ready before an old one ends.
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- end -}}
{{- end }}
