{{/* The egress that all pods need: names. */}}
{{- define "eventsvc.egressToNames" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{- define "eventsvc.egressToRedis" -}}
{{- if .Values.redis.enabled -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "eventsvc.selector" (list . "redis") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 6379}
{{- else -}}
- ports:
    - {protocol: TCP, port: {{ include "eventsvc.text" .Values.externalRedis.port }}}
{{- end }}
{{- end }}
