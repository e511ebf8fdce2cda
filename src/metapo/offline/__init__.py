"""Rubrics refined before training: from labelled boundary cases, or from pairs by GEPA."""
