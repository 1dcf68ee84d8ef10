{{/* Bytes of a quantity of Kubernetes: 640Mi, 2G, 1e9 or 1000. */}}
{{- define "eventsvc.quantity" -}}
{{- $text := include "eventsvc.text" . -}}
{{- $number := regexFind "^[0-9.]+([eE][0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $binary := hasSuffix "i" $unit -}}
{{- $bytes := float64 $number -}}
{{- range until (index (dict "" 0 "m" 0 "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5) (trimSuffix "i" $unit) | default 0 | int) -}}
{{- $bytes = mulf $bytes (ternary 1024 1000 $binary) -}}
{{- end -}}
{{- if eq $unit "m" }}{{ $bytes = divf $bytes 1000 }}{{ end -}}
{{- int64 $bytes -}}
{{- end }}

{{/* Bytes of a size as Redis writes it: 256mb, 1g or 1000; kb is 1024, k is 1000. */}}
{{- define "eventsvc.redisSize" -}}
{{- $bytes := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]*$" . -}}
{{- $step := ternary 1024 1000 (gt (len $unit) 1) -}}
{{- range until (index (dict "" 0 "b" 0 "k" 1 "m" 2 "g" 3) (substr 0 (min (len $unit) 1 | int) $unit) | int) -}}
{{- $bytes = mul $bytes $step -}}
{{- end -}}
{{- $bytes -}}
{{- end }}

{{/*
The least memory limit, in bytes, of a Redis that holds so many bytes of data.
Measured while a full Redis rewrites its log under load: 1.2 times the data, for
fragmentation and buffers, and 10 MB for itself and the pages that change. On a
slow disk the rewrite takes longer, and more pages change.
*/}}
{{- define "eventsvc.redisMemory" -}}
{{- add (div (mul . 5) 4) 67108864 -}}
{{- end }}
