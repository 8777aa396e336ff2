"""Answers as other tools take them: supervision's detections, Label Studio's tasks. Arrays in, plain values out."""
