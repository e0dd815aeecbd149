"""Addresses of the email server profiles."""

from django.urls import URLPattern, path

from . import search, views

urlpatterns: list[URLPattern] = [
    path("profiles/", views.profile_list, name="profile-list"),
    path("profiles/search/", search.profiles, name="profile-search"),
    path("people/search/", search.people, name="people-search"),
    path("profiles/new/", views.profile_new, name="profile-new"),
    path("profiles/<int:pk>/", views.profile_edit, name="profile-edit"),
    path("profiles/<int:pk>/preview/", views.profile_preview, name="profile-preview"),
]
