{{/*
Grafana's JSON of the panels in files/dashboard.yaml. Names in angle brackets
become those of the release, as in the alerts.
*/}}
{{- define "eventsvc.dashboard" -}}
{{- $text := .Files.Get "files/dashboard.yaml" -}}
{{- $text = $text | replace "<namespace>" .Release.Namespace -}}
{{- $text = $text | replace "<producer>" (include "eventsvc.name" (list . "event-producer")) -}}
{{- $text = $text | replace "<consumer>" (include "eventsvc.name" (list . "event-consumer")) -}}
{{- $source := dict "type" "prometheus" "uid" "${datasource}" -}}
{{- $panels := list -}}
{{- $y := 0 -}}
{{- range $text | fromYamlArray -}}
{{- $place := dict "x" 0 "y" $y "w" 24 "h" 1 -}}
{{- $panels = append $panels (dict "id" (add1 (len $panels)) "type" "row" "title" .row "collapsed" false "panels" list "gridPos" $place) -}}
{{- $y = add1 $y -}}
{{- range $number, $panel := .panels -}}
{{- $targets := list -}}
{{- range $index, $query := .queries -}}
{{- $id := index (list "A" "B" "C" "D" "E" "F") $index -}}
{{- $target := dict "refId" $id "datasource" $source "editorMode" "code" "range" true -}}
{{- $targets = append $targets (merge $target (dict "expr" $query.expr "legendFormat" $query.legend)) -}}
{{- end -}}
{{- $place := dict "x" (mul 8 (mod $number 3)) "y" (add $y (mul 8 (div $number 3))) "w" 8 "h" 8 -}}
{{- $field := dict "defaults" (dict "unit" .unit "min" 0 "custom" (dict "lineWidth" 1 "fillOpacity" 10 "showPoints" "never")) "overrides" list -}}
{{- $options := dict "legend" (dict "displayMode" "list" "placement" "bottom" "showLegend" true) "tooltip" (dict "mode" "multi" "sort" "desc") -}}
{{- $made := dict "id" (add1 (len $panels)) "type" "timeseries" "title" .title "description" .description "datasource" $source -}}
{{- $panels = append $panels (merge $made (dict "gridPos" $place "fieldConfig" $field "options" $options "targets" $targets)) -}}
{{- end -}}
{{- $y = add $y (mul 8 (div (add (len .panels) 2) 3)) -}}
{{- end -}}
{{- $choice := dict "name" "datasource" "label" "Prometheus" "type" "datasource" "query" "prometheus" "current" dict "hide" 0 -}}
{{- dict
  "uid" (printf "eventsvc-%s" (printf "%s/%s" .Release.Namespace (include "eventsvc.name" (list . "eventsvc")) | sha1sum | trunc 12))
  "title" (printf "eventsvc: %s in %s" .Release.Name .Release.Namespace)
  "tags" (list "eventsvc")
  "schemaVersion" 39
  "editable" false
  "graphTooltip" 1
  "refresh" "30s"
  "time" (dict "from" "now-1h" "to" "now")
  "timezone" "browser"
  "templating" (dict "list" (list $choice))
  "panels" $panels
  | toPrettyJson -}}
{{- end }}
