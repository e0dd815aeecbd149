"""What the templates say again and again: icons, states, ages."""

from django import template

register = template.Library()
