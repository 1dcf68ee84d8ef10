{{/* What posts to the forwarded port, but for the body and the path. */}}
{{- define "eventsvc.curl" -}}
curl -i
{{- if .Values.producer.tls.existingSecret }} --cacert ca.crt --resolve {{ include "eventsvc.name" (list . "event-producer-svc") }}:8080:127.0.0.1{{ end }}
{{- if .Values.producer.tls.clientCASecret }} --cert client.crt --key client.key{{ end }}
{{- if .Values.producer.tokens.existingSecret }} --header "Authorization: Bearer $TOKEN"{{ end }}
{{- end }}

{{- define "eventsvc.forwarded" -}}
{{- if .Values.producer.tls.existingSecret -}}
https://{{ include "eventsvc.name" (list . "event-producer-svc") }}:8080
{{- else -}}
http://127.0.0.1:8080
{{- end }}
{{- end }}
