# Queries, one a line, and a template: the template with a scale point for each query.
FNR == NR {
    sub(/\r$/, "")
    if ($0 == "" || count == 64) next
    gsub(/["\\]/, "\\\\&")
    points = points "    lv2:scalePoint [ rdfs:label \"" $0 "\" ; rdf:value " count++ " ] ;\n"
    next
}
/@POINTS@/ { printf "%s", points; sub(/@POINTS@/, "") }
{ sub(/@LAST@/, count - 1); print }
