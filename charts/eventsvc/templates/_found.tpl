{{/*
An object of the cluster as JSON, empty if it is not there, or if there is no
cluster, as with helm template: (list $ "apps/v1" "StatefulSet" "redis-master").
*/}}
{{- define "eventsvc.found" -}}
{{- lookup (index . 1) (index . 2) (index . 0).Release.Namespace (index . 3) | toJson -}}
{{- end }}
